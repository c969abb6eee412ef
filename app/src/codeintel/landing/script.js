
"use strict";
{
  const names = { "http/1.0": "HTTP/1.0", "http/1.1": "HTTP/1.1", h2: "HTTP/2", h3: "HTTP/3" };
  const [visit] = performance.getEntriesByType("navigation");
  const protocol = visit?.nextHopProtocol ?? "";
  const shown = document.getElementById("protocol");
  shown.dataset.protocol = protocol;
  shown.textContent = names[protocol] ?? (protocol || "a protocol that it does not tell");
  document.getElementById("hint").hidden = protocol !== "h2";

  for (const snippet of document.querySelectorAll(".copy")) {
    const code = snippet.querySelector("code");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    snippet.append(button);
  }
}
