// The picture of a reply's attention: a table with a row for each word said and a column for each word read.

/**
 * @param {import("./engine.js").Attention} attention
 * @returns {HTMLElement}
 */
export function heatMap({ read, said, weights }) {
  const table = document.createElement("table");
  table.className = "heat";
  const caption = table.createCaption();
  caption.textContent = "Which words the reply looked at: a row for each word it said, a column for each it read.";
  const head = table.createTHead().insertRow();
  head.append(document.createElement("td"), ...read.map((word) => heading(word, "col")));
  const body = table.createTBody();
  said.forEach((word, row) => {
    const line = body.insertRow();
    line.append(heading(word === "<eos>" ? "(end)" : word, "row"));
    weights[row].forEach((weight, column) => {
      const cell = line.insertCell();
      cell.style.setProperty("--weight", String(weight));
      cell.textContent = weight < 0.005 ? "" : String(Math.round(100 * weight));
      cell.title = `${word} looked at ${read[column]}: ${Math.round(100 * weight)} %`;
      cell.classList.toggle("strong", weight > 0.4);
    });
  });
  const frame = document.createElement("div");
  frame.className = "heat-frame";
  frame.tabIndex = 0; // so that the keyboard can scroll it
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", "Attention of the reply");
  frame.append(table);
  return frame;
}

function heading(word, scope) {
  const cell = document.createElement("th");
  cell.scope = scope;
  const text = document.createElement("span");
  text.textContent = word === "<sep>" ? "\u21b5" : word;
  if (word === "<sep>") text.title = "the end of a turn before";
  cell.append(text);
  return cell;
}
