"use strict";
// Exchanges the sections of the page as the server sends them, says when what is shown is old, and asks for nothing while the
// page is hidden.
(() => {
  const STALE = 8000; // Milliseconds after which what is shown is called old: four rounds.
  const AGAIN = 5000; // Milliseconds until another attempt, where the browser makes none by itself.
  const live = document.getElementById("live");
  let source = null;
  let heard = Date.now();
  let again = 0;

  const say = (state, text) => {
    if (live.dataset.state !== state) live.dataset.state = state;
    if (live.textContent !== text) live.textContent = text;
  };

  // Makes an element like another, and keeps all that is alike: what has the focus, what is selected, what moves.
  const become = (old, now) => {
    if (old.nodeType !== now.nodeType || old.nodeName !== now.nodeName) {
      old.replaceWith(now);
    } else if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== now.nodeValue) old.nodeValue = now.nodeValue;
    } else {
      for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name);
      for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
      adopt(old, now);
    }
  };
  const adopt = (old, now) => {
    const nodes = [...now.childNodes];
    while (old.childNodes.length > nodes.length) old.lastChild.remove();
    nodes.forEach((node, index) => {
      const before = old.childNodes[index];
      if (before) become(before, node);
      else old.append(node);
    });
  };

  const show = ({ title, severity, sections }) => {
    document.title = `${title} – evenkeel`;
    const icon = document.getElementById("icon");
    const href = `/icon/${severity}.svg`;
    if (icon.getAttribute("href") !== href) icon.setAttribute("href", href);
    for (const [name, html] of sections) {
      const element = document.getElementById(name);
      const template = document.createElement("template");
      template.innerHTML = html;
      if (element) adopt(element, template.content);
    }
  };

  const connect = () => {
    clearTimeout(again);
    if (source) source.close();
    source = new EventSource(`/events${location.pathname === "/" ? "" : location.pathname}`);
    source.onmessage = (event) => {
      show(JSON.parse(event.data));
      heard = Date.now();
      say("live", "live");
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) again = setTimeout(connect, AGAIN);
    };
  };
  const leave = () => {
    clearTimeout(again);
    if (source) source.close();
    source = null;
  };

  setInterval(() => {
    const seconds = Math.round((Date.now() - heard) / 1000);
    if (source && Date.now() - heard > STALE) say("stale", `not live: last heard ${seconds} s ago`);
  }, 1000);
  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : connect()));
  addEventListener("pagehide", leave);
  addEventListener("pageshow", (event) => event.persisted && connect());

  document.addEventListener("submit", (event) => {
    event.preventDefault();
    const { target, submitter } = event;
    fetch(target.action, { method: "POST", body: new URLSearchParams(new FormData(target, submitter)), redirect: "manual" });
  });

  if (!document.hidden) connect();
})();
