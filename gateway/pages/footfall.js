// Footfall's tracker: page views, navigation in single-page applications and engaged time; no cookies, no storage.
//
//   <script defer src="https://HOST/js/footfall.js" data-site="SITE_ID"></script>
//   footfall("signup", { plan: "pro" });  // an event of the page's own
//
// The gateway serves it without comments and needless space (`compact` in footfall/supervisor/gateway.py), and what is
// left must have less than 1,000 bytes gzipped. So comments stand on lines of their own, statements end in semicolons,
// there are no regular expressions, and what recurs is written alike.
(() => {
  const script = document.currentScript;
  if (!script || window.footfall) return;
  const silent = navigator.doNotTrack == 1 || navigator.globalPrivacyControl;
  const target = new URL("/v1/collect?site=" + script.dataset.site, script.src);
  // The page that is reported about; the timer of its view; seconds of engagement, and seconds since the last sign of life.
  let page, referrer, timer, engaged = 0, idle = 0;

  // Failing is not the page's business.
  const send = (type, more) => {
    try {
      const body = JSON.stringify({ type, url: page, ...more });
      navigator.sendBeacon?.(target, body) || fetch(target, { method: "POST", body, keepalive: true }).catch(() => {});
    } catch {}
  };
  window.footfall = (name, properties) => { silent || send("custom", { name, properties }); };
  if (silent) return;

  const meta = (name, length) => document.querySelector(`meta[${name}]`)?.content.slice(0, length);

  // Says what there is to say of the page.
  const report = () => {
    if (timer) {
      timer = clearTimeout(timer);
      send("pageview", {
        referrer,
        title: document.title.slice(0, 1024),
        author: meta("name=author", 256),
        pubdate: meta("property$=published_time", 64),
        og_image: meta("property$=image", 2048),
        language: navigator.language,
        timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
        screen: screen.width + "x" + screen.height,
      });
    }
    if (engaged) send("heartbeat", { engaged_seconds: engaged });
    engaged = 0;
  };

  // Another address, fragments aside, is another page. Its view waits for the title that the application gives it.
  const look = () => {
    const url = location.href.split("#")[0];
    if (url == page) return;
    report();
    referrer = page || document.referrer;
    page = url;
    timer = setTimeout(report, 99);
  };

  const on = (types, listener) => types.split(" ").map(type => addEventListener(type, listener, true));

  const start = () => {
    look();
    ["pushState", "replaceState"].map(name => {
      const change = history[name];
      history[name] = function () {
        change.apply(this, arguments);
        look();
      };
    });
    on("popstate", look);
    // Shown again as it was left, by the browser's Back.
    on("pageshow", event => event.persisted && look(page = 0));
    on("pagehide visibilitychange", () => report(look()));
    on("focus keydown pointermove scroll", () => idle = 0);
    // A second counts if the page is in view and in use.
    setInterval(() => {
      if (document.hasFocus() && idle++ < 60 && ++engaged > 14) report();
    }, 1000);
  };
  // A page that is loaded ahead may never be seen.
  document.prerendering ? on("prerenderingchange", start) : start();
})();
