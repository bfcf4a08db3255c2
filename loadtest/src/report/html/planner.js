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
  // The step with the highest measured rate whose p99 is within the objective; undefined if there is none.
  const best = (points, p99) =>
    points.filter(point => point.p99_micros <= p99).sort((a, b) => b.rate_per_core - a.rate_per_core)[0];
  const show = () => {
    const output = form.querySelector("output");
    const asked = Object.fromEntries(new FormData(form));
    const v = { ...planner.values };
    for (const name of ["R", "I", "V", "T", "L", "O"]) v[name] = Number(asked[name]);
    const rates = planner.rates.find(rates => rates.durability === asked.durability);
    let changes_max = 0;
    for (const [scenario, rate, demand] of planner.names) {
      v[rate] = Infinity;
      if (!(v[demand] > 0)) continue;
      const step = best(rates[scenario], Number(asked.p99) * 1000);
      if (step === undefined) {
        const lowest = Math.min(...rates[scenario].map(point => point.p99_micros)) / 1000;
        output.textContent = `A p99 of ${asked.p99} ms was met at no measured rate of ${scenario}: the lowest was ${three(lowest)} ms.`;
        return;
      }
      v[rate] = step.rate_per_core;
      if (scenario !== "introspect") changes_max = Math.max(changes_max, step.answered_per_second);
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
    if (v.I + v.V > changes_max) {
      const warning = document.createElement("p");
      warning.textContent = `All changes go through one journal, and no more than ${write.count(changes_max)} a second were ` +
        "measured within the objective: whether the disk can do that is not shown.";
      output.append(warning);
    }
  };
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", event => event.preventDefault());
  show();
})();
