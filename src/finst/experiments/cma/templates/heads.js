"use strict";
// Reads the numbers from Bokeh's columns, filters the maps, and shows the chosen head.
const finstHeads = (() => {
  const find = (id) => document.getElementById(id);
  const facts = JSON.parse(find("facts").textContent);
  const stages = facts.stages;
  const count = facts.layers * facts.heads;
  let plots, columns, scores;

  // Numbers are written as by finst.report.wording. An exact tie is rounded to the even digit there, and up by toFixed.
  const fixed = (value, decimals) => {
    const exact = value.toFixed(20);
    const kept = exact.slice(0, exact.length - 20 + decimals).replace(/\.$/, "");
    const tied = /^50*$/.test(exact.slice(exact.length - 20 + decimals));
    return tied && "02468".includes(kept.at(-1)) ? kept : value.toFixed(decimals);
  };
  const number = (value) => {
    if (Number.isNaN(value)) return "–";
    if (value && Math.abs(value) < 5e-4) {
      const [mantissa, power] = value.toExponential(1).split("e");
      const raised = [...String(Number(power))].map((sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]).join("");
      return `${mantissa}·10${raised}`.replace("-", "−");
    }
    return fixed(value, 3).replace("-", "−");
  };
  const interval = (low, high) =>
    Number.isNaN(low) || Number.isNaN(high) ? "[no interval]" : `[${number(low)}, ${number(high)}]`;
  const probability = (p) => (p < 0.001 ? "< 0.001" : number(p));
  const share = (part, whole) => {
    if (!Number.isFinite(part) || whole === null || whole <= 0) return "–";
    const percent = (100 * part) / whole;
    return `${fixed(percent, Math.abs(percent) >= 9.95 ? 0 : 1)} %`.replace("-", "−");
  };

  const name = (head) => `L${columns.layer[head]}H${columns.head[head]}`;
  const value = (statistic, stage, head) => columns[`${statistic}_${stage.key}`][head];
  const score = (stage, head, pair) => scores[stage.key][head * facts.pairs + pair];
  const rank = (stage, head) => value("rank", stage, head) || "–";

  const headText = (head) => {
    const lines = stages.map((stage) => {
      const p = probability(value("p_fwer", stage, head));
      const ends = interval(value("ci_low", stage, head), value("ci_high", stage, head));
      return (
        `${stage.name}: ${number(value("mean", stage, head))} ${ends} logits, family-wise p ` +
        `${p.startsWith("<") ? p : `= ${p}`} against ${facts.against}, rank ${rank(stage, head)} of ${count}, ` +
        `n = ${stage.n} pairs`
      );
    });
    return [name(head), ...lines].join("\n");
  };
  const sampleText = (key, pair) => {
    const data = model(`samples-${key}`).data;
    const used = data.opacity[pair] ? "" : "\nleft out of the mean";
    return `${data.text[pair]}\nscore ${number(data.score[pair])} logits${used}`;
  };

  const model = (wanted) => Bokeh.documents[0].get_model_by_name(wanted);
  const chosenStages = () => stages.filter((stage) => !find("stage").value || stage.key === find("stage").value);
  const entered = (id, other) => (find(id).value === "" ? other : Number(find(id).value));

  const passes = (stage, head) => {
    const layer = columns.layer[head];
    return (
      layer >= entered("first", 0) &&
      layer <= entered("last", facts.layers - 1) &&
      (entered("least", 0) <= 0 || Math.abs(value("mean", stage, head)) >= entered("least", 0))
    );
  };

  // The best rank of a head among the chosen stages in which it passes; none where it passes in none.
  const best = (head) =>
    chosenStages()
      .filter((stage) => passes(stage, head))
      .map((stage) => ({ head, stage, rank: value("rank", stage, head) || Infinity }))
      .sort((one, other) => one.rank - other.rank)[0];

  const filter = () => {
    const shown = chosenStages();
    for (const place of document.querySelectorAll("[data-stage]"))
      place.hidden = !shown.some((stage) => stage.key === place.dataset.stage);
    for (const stage of stages) {
      const kept = Array.from({ length: count }, (_, head) => passes(stage, head));
      model(`shown-${stage.key}`).booleans = kept;
      model(`outlined-${stage.key}`).booleans = kept.map((keep, head) => keep && Boolean(value("above", stage, head)));
    }
    const heads = Array.from({ length: count }, (_, head) => best(head))
      .filter(Boolean)
      .sort((one, other) => one.rank - other.rank || one.head - other.head);
    const before = find("head").value;
    find("head").replaceChildren(
      ...heads.map(({ head, stage }) => {
        const text = `${name(head)}: rank ${rank(stage, head)} in ${stage.name}, ${number(value("mean", stage, head))} logits`;
        return new Option(text, head);
      }),
    );
    find("count").textContent = heads.length
      ? `${heads.length} of ${count} heads pass these filters.`
      : "No head passes these filters: expected a smaller least score, or more layers.";
    if (heads.some(({ head }) => String(head) === before)) find("head").value = before;
    else if (heads.length) choose(heads[0].head);
  };

  const cells = (texts) => {
    const row = document.createElement("tr");
    for (const text of texts) row.insertCell().append(text);
    return row;
  };

  const showSets = (head) => {
    if (!find("sets")) return;
    const rows = [];
    for (const intervention of facts.interventions) {
      for (const stage of new Set(intervention.sets.map((set) => set.stage))) {
        const held = intervention.sets.filter((set) => set.stage === stage && set.heads.includes(head));
        if (!held.length) continue;
        const link = document.createElement("a");
        link.href = intervention.link;
        link.textContent = intervention.name;
        const sizes = document.createElement("span");
        held.forEach((set, place) => {
          const size = document.createElement("span");
          size.className = set.reported ? "reported" : "";
          size.textContent = set.k;
          sizes.append(place ? ", " : "", size);
        });
        rows.push(cells([link, stage, sizes]));
      }
    }
    find("sets").replaceChildren(...rows);
    find("none").hidden = rows.length > 0;
  };

  const choose = (head) => {
    find("head").value = String(head);
    find("name").textContent = name(head);
    model("heads").selected.indices = [head];
    model("chosen").data = { layer: [columns.layer[head]], head: [columns.head[head]] };
    for (const stage of stages) {
      const [mean, low, high] = ["mean", "ci_low", "ci_high"].map((statistic) => value(statistic, stage, head));
      const texts = [
        `${number(mean)} ± ${number(value("standard_error", stage, head))}`,
        interval(low, high),
        share(mean, stage.margin),
        probability(value("p_fwer", stage, head)),
        `${rank(stage, head)} of ${count}`,
        `${stage.n} pairs`,
        value("above", stage, head) ? "yes" : "no",
      ];
      texts.forEach((text, place) => (find(`row-${stage.key}`).cells[place + 1].textContent = text));
      const source = model(`samples-${stage.key}`);
      source.data = { ...source.data, score: Array.from({ length: facts.pairs }, (_, pair) => score(stage, head, pair)) };
      model(`mean-${stage.key}`).location = Number.isNaN(mean) ? 0 : mean;
      model(`mean-${stage.key}`).visible = !Number.isNaN(mean);
      Object.assign(model(`interval-${stage.key}`), { bottom: low, top: high, visible: !Number.isNaN(low) });
      const shown = find(`example-${stage.key}`);
      if (shown) shown.textContent = number(score(stage, head, Number(shown.dataset.pair)));
    }
    for (const place of document.querySelectorAll(".chosen-name")) place.textContent = name(head);
    find("scores").replaceChildren(
      ...Array.from({ length: facts.pairs }, (_, pair) =>
        cells([String(pair), ...stages.map((stage) => number(score(stage, head, pair)))]),
      ),
    );
    showSets(head);
  };

  // Texts and lines on the canvas take the colours of the page's theme.
  const paint = () => {
    const style = getComputedStyle(document.documentElement);
    const [ink, soft] = ["--ink", "--soft"].map((variable) => style.getPropertyValue(variable).trim());
    for (const plot of plots) {
      for (const part of [...plot.below, ...plot.left]) {
        const text = { major_label_text_color: ink };
        const axis = { axis_label_text_color: ink, axis_line_color: soft, major_tick_line_color: soft };
        Object.assign(part, text, part.type === "ColorBar" ? { title_text_color: ink } : axis);
      }
      for (const grid of plot.center) if (grid.type === "Grid") grid.grid_line_color = null;
    }
  };

  const start = () => {
    plots = stages.flatMap((stage) => [model(`map-${stage.key}`), model(`samples-chart-${stage.key}`)]);
    columns = model("heads").data;
    scores = plots[0].tags[0].data;
    paint();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
    filter();
    const selected = model("heads").selected;
    selected.properties.indices.change.connect(() => {
      if (selected.indices.length && String(selected.indices[0]) !== find("head").value) choose(selected.indices[0]);
    });
    find("head").addEventListener("change", () => choose(Number(find("head").value)));
    for (const id of ["stage", "first", "last", "least"]) find(id).addEventListener("input", filter);
    find("controls").addEventListener("submit", (event) => event.preventDefault());
    document.body.dataset.ready = "yes";
  };
  const wait = () => (Bokeh.documents.length ? start() : setTimeout(wait, 20));
  addEventListener("DOMContentLoaded", wait);

  return { headText, sampleText, number, interval, probability, share };
})();
