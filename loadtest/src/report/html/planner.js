// Evaluates the formulas above, which the report's program has written, with what is in the form.
(() => {
  const form = document.getElementById("plan-form");
  const three = x => x === 0 ? "0" : x < 1000 ? String(Number(x.toPrecision(3))) : Math.round(x).toString();
  const scaled = (x, base, units) => {
    let at = 0;
    while (x >= 999.5 && at < units.length - 1) { x /= base; at += 1; }
    return `${three(x)} ${units[at]}`.trim();
  };
  const write = {
    count: x => scaled(x, 1000, ["", "k", "M", "G"]),
    bytes: x => scaled(x, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]),
    bytes_per_second: x => scaled(x, 1024, ["B/s", "KiB/s", "MiB/s", "GiB/s"]),
    seconds: x => !isFinite(x) ? "–" : x < 120 ? `${three(x)} s` : x < 7200 ? `${three(x / 60)} min` : `${three(x / 3600)} h`,
  };
  // The highest measured rate on a core whose p99 is within the objective; undefined if none is.
  const best = (points, p99) =>
    points.filter(point => point.p99_micros <= p99).map(point => point.rate_per_core).sort((a, b) => b - a)[0];
  const show = () => {
    const output = form.querySelector("output");
    const asked = Object.fromEntries(new FormData(form));
    const v = { ...planner.values };
    for (const name of ["R", "I", "V", "T", "L", "O"]) v[name] = Number(asked[name]);
    const rates = planner.rates.find(rates => rates.durability === asked.durability);
    for (const [scenario, rate, demand] of planner.names) {
      v[rate] = v[demand] > 0 ? best(rates[scenario], Number(asked.p99) * 1000) : Infinity;
      if (v[rate] === undefined) {
        const lowest = Math.min(...rates[scenario].map(point => point.p99_micros)) / 1000;
        output.textContent = `A p99 of ${asked.p99} ms was met at no measured rate of ${scenario}: the lowest was ${three(lowest)} ms.`;
        return;
      }
    }
    const list = document.createElement("dl");
    for (const formula of planner.formulas) {
      v[formula.name] = formula.value(v);
      const [title, figure] = [document.createElement("dt"), document.createElement("dd")];
      title.textContent = formula.title;
      figure.textContent = write[formula.unit](v[formula.name]);
      list.append(title, figure);
    }
    output.replaceChildren(list);
  };
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", event => event.preventDefault());
  show();
})();
