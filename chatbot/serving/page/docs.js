// The API's page: openapi.json as a person reads it.

const description = await (await fetch("openapi.json")).json();
document.getElementById("about").textContent = description.info.description;
const paths = Object.entries(description.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => section(path, method.toUpperCase(), operation)),
);
document.getElementById("paths").append(...paths);

function section(path, method, operation) {
  const made = element("section");
  made.append(element("h2", element("b", method), " ", path), element("p", operation.summary));
  const body = operation.requestBody?.content["application/json"];
  if (body) {
    const command = `curl ${location.origin}${path} --json '${JSON.stringify(body.example)}'`;
    made.append(element("pre", command), members(schemaOf(body.schema)));
  } else {
    made.append(element("pre", `curl ${location.origin}${path}`));
  }
  const refusals = Object.entries(operation.responses).filter(([status]) => status !== "200");
  if (refusals.length) {
    const rows = refusals.map(([status, { description: why }]) => element("tr", element("td", status), element("td", why)));
    made.append(element("details", element("summary", "Refusals"), element("table", ...rows)));
  }
  return made;
}

function members(schema) {
  const rows = Object.entries(schema.properties).map(([name, member]) =>
    element(
      "tr",
      element("td", element("code", name)),
      element("td", kind(member) + (schema.required?.includes(name) ? ", required" : "")),
      element("td", member.description ?? ""),
    ),
  );
  return element("table", ...rows);
}

function schemaOf({ $ref }) {
  return description.components.schemas[$ref.split("/").pop()];
}

function kind(member) {
  if (member.anyOf) return member.anyOf.map(kind).filter((name) => name !== "null").join(" or ");
  if (member.$ref) return member.$ref.split("/").pop();
  if (member.type === "array") return `list of ${kind(member.items)}`;
  return member.type ?? "any";
}

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}
