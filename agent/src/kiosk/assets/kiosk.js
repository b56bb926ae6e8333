// The kiosk's one script. Every page works without it, except that it then neither follows changes by
// itself nor goes blank when the screen locks, and that a time has to be typed with its day.
"use strict";
(() => {
  const STALE = 25_000; // Milliseconds without word from the agent: its beat is 10 seconds.
  const TOUCHES = 5_000; // At most one report of a touch in this time, unless the screen is about to lock.
  const RESTART = 60_000; // A restart takes no longer; what does not answer by then may not come back by itself.
  const GOING = 5_000; // Another page is there by then, or does not come: what was pressed led nowhere.
  const PAUSE = 600; // A pause in typing this long keeps the draft.
  const OLDER = 5_000; // A lock waits this long for an older draft before it sends the newer one.
  const LONG = 20_000; // And this long for one that does not outlive its page.
  const OUTLIVES = 60_000; // Bytes: of what outlives its page browsers send 64 KiB, and refuse the rest.
  const AGREES = 60_000; // The browser's clock counts while it is no further than this from the agent's.
  const { body, documentElement: root } = document;
  const byId = (id) => document.getElementById(id);
  let gone = false;
  let pressing = false;
  let going = false;
  let awaited = false;

  // --- Going blank -----------------------------------------------------------------------------------
  const blank = (words) => {
    gone = true;
    stream.close();
    const say = document.createElement("p");
    say.className = "restarting";
    say.setAttribute("role", "alert");
    say.textContent = words;
    body.replaceChildren(say);
    return say;
  };
  const home = async () => {
    if (gone) return;
    blank("");
    await settle();
    // What was pressed is on its way, and may have been answered: the start page in its place is not where it leads.
    if (going) awaited = true;
    else location.replace("/");
  };
  const restarting = () => {
    if (gone || !body.dataset.screen) return;
    const say = blank("This kiosk is restarting. It comes back by itself; saved entries are safe.");
    settle();
    setTimeout(() => {
      say.textContent = `This kiosk does not answer. Write it on paper or use another device. ${body.dataset.call ?? "Call IT"}. This page goes on trying.`;
    }, RESTART);
    const again = async () => {
      try {
        if ((await fetch("/status", { cache: "no-store", signal: AbortSignal.timeout(10_000) })).ok) return location.replace("/");
      } catch {
        // Still down.
      }
      return setTimeout(again, 1_500);
    };
    setTimeout(again, 1_500);
  };
  // A form that came back is, from here on, a page like any other: nobody is asked to send it again.
  history.replaceState(null, "", location.href);
  // What the browser keeps of a left page must not be readable when somebody goes back to it.
  addEventListener("pagehide", () => {
    gone = true;
    root.classList.add("left");
  });
  addEventListener("pageshow", (event) => event.persisted && location.replace("/"));

  // --- Following the device --------------------------------------------------------------------------
  // A refusal has none of these parts, and is of whichever screen is there when it opens.
  const parts = (body.hasAttribute("data-held") ? ["status", "warning"] : ["status", "warning", "main"]).filter(byId);
  const shown = new Map(parts.map((id) => [id, byId(id)?.innerHTML]));
  let bump = body.dataset.bump;
  let heard = performance.now();
  let due = 0;
  let asked = null;
  let stays = 0;
  const refresh = async () => {
    if (going || !parts.length) return undefined;
    if (pressing) return later();
    try {
      const from = parts.includes("main") ? location.href : "/status";
      asked = new AbortController();
      const reply = await fetch(from, { cache: "no-store", signal: asked.signal });
      const page = new DOMParser().parseFromString(await reply.text(), "text/html");
      if (gone) return undefined;
      if (reply.redirected || page.body.dataset.screen !== body.dataset.screen) return home();
      // What was pressed meanwhile stays until it is let go: taken away, it would lead nowhere.
      if (pressing) return later();
      body.dataset.zone = page.body.dataset.zone;
      // What this device may show has changed, and a page that keeps what is typed into it is not drawn anew.
      const shows = page.body.dataset.shows;
      if (shows !== body.dataset.shows && !parts.includes("main") && !leaving) return home();
      body.dataset.shows = shows;
      const focus = document.activeElement?.id;
      for (const id of parts) {
        const fresh = page.getElementById(id);
        if (!fresh || fresh.innerHTML === shown.get(id)) continue;
        // What somebody types is not taken away; the next news bring the rest.
        if (byId(id).querySelector("input:focus")) continue;
        shown.set(id, fresh.innerHTML);
        // What somebody opened stays open.
        for (const open of byId(id).querySelectorAll("details[id][open]")) {
          fresh.querySelector(`#${open.id}`)?.setAttribute("open", "");
        }
        byId(id).replaceChildren(...fresh.childNodes);
      }
      if (focus && document.activeElement?.id !== focus) byId(focus)?.focus({ preventScroll: true });
      tell();
    } catch {
      // The stream notices if the agent is down.
    }
    return undefined;
  };
  const later = () => {
    clearTimeout(due);
    if (!going && !gone) due = setTimeout(refresh, 150);
  };
  // Whoever opens another page has not read this one again after it. If none comes, this one catches up.
  addEventListener("beforeunload", () => {
    going = true;
    clearTimeout(due);
    asked?.abort();
    clearTimeout(stays);
    stays = setTimeout(() => {
      going = false;
      // Once: asked for again before it came, it would never come.
      if (awaited) location.replace("/");
      awaited = false;
      later();
    }, GOING);
  });
  const stream = new EventSource("/events");
  stream.onmessage = (event) => {
    heard = performance.now();
    const news = JSON.parse(event.data);
    body.dataset.screen ??= news.screen;
    if (news.screen !== body.dataset.screen) return home();
    if (String(news.bump) !== bump) {
      bump = String(news.bump);
      later();
    }
    return undefined;
  };
  stream.onerror = restarting;

  // --- Times and countdown ---------------------------------------------------------------------------
  // In the zone that the page names. Where the browser does not know it, times stay as the agent wrote them.
  const wall = (zone) => {
    const format = (parts) => new Intl.DateTimeFormat("en-US", { timeZone: zone || undefined, ...parts });
    try {
      const clock = format({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
      const date = format({ weekday: "long", month: "long", day: "numeric" });
      return { zone, clock, date, day: format({ month: "2-digit", day: "2-digit", year: "numeric" }) };
    } catch {
      return { zone };
    }
  };
  let here = wall(body.dataset.zone);
  const read = (time, { clock, day }) => {
    const at = new Date(time.dateTime);
    const today = day.format(at) === day.format(new Date());
    const of = time.dataset.of ? ` ${time.dataset.of}` : "";
    if (today && "short" in time.dataset) return clock.format(at) + of;
    return `${today ? "Today" : day.format(at)} ${clock.format(at)}${of}`;
  };
  const show = (times, text) => document.querySelectorAll(times).forEach((time) => (time.textContent = text(time)));
  const tell = () => {
    if (here.zone !== body.dataset.zone) here = wall(body.dataset.zone);
    if (here.clock) {
      show("time[datetime]", (time) => read(time, here));
      show("time[data-clock]", () => here.clock.format(new Date()));
      show("time[data-date]", () => here.date.format(new Date()));
    }
    const left = document.querySelector("[data-left]");
    if (left && !left.dataset.until) left.dataset.until = performance.now() + left.dataset.left * 1_000;
    if (left) {
      const seconds = Math.max(0, Math.ceil((left.dataset.until - performance.now()) / 1_000));
      left.textContent = `${seconds} second${seconds === 1 ? "" : "s"}`;
    }
  };
  tell();
  setInterval(() => {
    if (gone) return;
    tell();
    if (performance.now() - heard > STALE) restarting();
  }, 1_000);

  // --- Touches ---------------------------------------------------------------------------------------
  let touched = -TOUCHES;
  const touch = () => {
    const now = performance.now();
    const warned = document.querySelector("[data-left]");
    if (gone || (!warned && now - touched < TOUCHES)) return;
    touched = now;
    if (warned) byId("warning").replaceChildren();
    shown.delete("warning");
    fetch("/touch", { method: "POST" }).catch(() => {});
  };
  addEventListener("pointerdown", () => {
    pressing = true;
    touch();
  });
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => (pressing = false));
  addEventListener("keydown", touch);
  addEventListener("wheel", touch, { passive: true });

  // --- The PIN pad -----------------------------------------------------------------------------------
  root.classList.add("script");
  const pin = byId("pin");
  document.querySelector("[data-pin]")?.addEventListener("click", (event) => {
    const { digit } = event.target.dataset;
    if (digit && pin.value.length < pin.maxLength) pin.value += digit;
    if ("clear" in event.target.dataset) pin.value = "";
  });
  if (pin) {
    addEventListener("keydown", (event) => /^\d$/.test(event.key) && pin.focus());
  }

  // --- Drafts ----------------------------------------------------------------------------------------
  const form = document.querySelector("form[data-draft]");
  let pause = 0;
  let keeping = null;
  let outlives = true;
  let leaving = false;
  const kept = document.querySelector("[data-kept]");
  const keep = () => {
    clearTimeout(pause);
    // Of two on their way the older may be written last: it is waited for, except by a page that goes.
    pause = keeping && !gone ? setTimeout(keep, PAUSE) : 0;
    if (pause) return;
    const typed = new URLSearchParams(new FormData(form));
    outlives = `${typed}`.length < OUTLIVES;
    // Not given up, however late: the device would write it all the same, and perhaps after the entry it became.
    keeping = fetch(form.dataset.draft, { method: "POST", body: typed, keepalive: outlives })
      .then(async (reply) => {
        // 205: all is as it was shown, so nothing is unfinished.
        const some = reply.status !== 205;
        kept.textContent = reply.ok && some ? "Unfinished answers are kept on this device." : await reply.text();
        if (reply.ok) byId("discard").hidden = !some;
        form.toggleAttribute("data-unwritten", !reply.ok);
      })
      .catch(() => {
        kept.textContent = "Unfinished answers are not kept right now.";
        form.toggleAttribute("data-unwritten", true);
      })
      .finally(() => (keeping = null));
  };
  form?.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(keep, PAUSE);
  });
  // A draft on its way must not arrive after the entry it became.
  form?.addEventListener("submit", (event) => {
    clearTimeout(pause);
    pause = 0;
    if (leaving || keeping) event.preventDefault();
    if (keeping && !leaving) {
      keeping.finally(() => {
        leaving = false;
        form.requestSubmit(event.submitter);
      });
    }
    leaving = true;
  });
  // The device takes the last words of a form also when the screen has just locked.
  const flush = () => pause && !leaving && keep();
  addEventListener("pagehide", flush);
  const within = (most, what) => Promise.race([what, new Promise((go) => setTimeout(go, most))]);
  // A blank page lives on until its last words are on their way: after an older draft, and where a draft is too long
  // to outlive its page, until it has arrived.
  const settle = async () => {
    clearTimeout(pause);
    if (pause) await within(OLDER, keeping);
    flush();
    if (!outlives) await within(LONG, keeping);
  };

  // --- Times that are typed alone --------------------------------------------------------------------
  // "14:30" or "now" is written out with its day, once, when its field is left: read again later it would mean another
  // moment. What may be of another day stays as it was typed, and the save asks for the day.
  const ALONE = /^(?=.*m|\d\d?:|\d{4})(\d\d?)(?::?(\d\d))? *(?:([ap])\.?m\.?)?$/i;
  const agrees = form && Math.abs(Date.parse(form.dataset.now) - Date.now()) < AGREES;
  const whole = (typed, { of, stood }) => {
    const now = new Date();
    const [today, clock] = [here.day.format(now), here.clock.format(now)];
    if (typed.toLowerCase() === "now") return `${today} ${clock}`;
    // The beginning of a day that was not typed to its end is no time.
    if (typed === (of || today).slice(-4)) return null;
    const [, hours, behind, half] = ALONE.exec(typed) ?? [];
    const minutes = behind ?? (half && "00");
    const hour = parseInt(hours, 10);
    const exists = minutes <= 59 && (half ? hour >= 1 && hour <= 12 : hour <= 23);
    if (!exists) return null;
    const later = half?.toLowerCase() === "p" ? 12 : 0;
    const time = `${String(half ? (hour % 12) + later : hour).padStart(2, "0")}:${minutes}`;
    const day = of || today;
    const isAnothers = (stood && !stood.startsWith(day)) || (day === today && time > clock);
    return isAnothers ? null : `${day} ${time}`;
  };
  form?.addEventListener("change", ({ target }) => {
    if (gone || !agrees || !here.clock || !("day" in target.dataset)) return;
    const typed = target.value.trim();
    const { day: of, stood = target.defaultValue } = target.dataset;
    const taken = whole(typed, { of, stood });
    // What names a day, or nothing, is what stands there from now on.
    if (taken || !typed || (/\d{4}|\//.test(typed) && !ALONE.test(typed))) target.dataset.stood = taken ?? typed;
    if (!taken) return;
    target.value = taken;
    target.dispatchEvent(new Event("input", { bubbles: true }));
  });
})();
