// A conversation as text, in the form that `chatbot chat --log` writes and `chatbot train` reads.

/**
 * @param {{text: string, reply: string}[]} turns
 * @returns {string}
 */
export function transcript(turns) {
  return turns.map(({ text, reply }) => `> ${text.split(/\s+/).filter(Boolean).join(" ")}\n${reply}\n`).join("");
}

/** Hand a text to the browser as a file. @param {string} text @param {string} name */
export function download(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
