/** How the report looks, by day and by night, on a screen and on paper. In the page itself: nothing is fetched for it. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #ffffff; --edge: #e0e4ea; --text: #1c2330; --muted: #5d6878;
  --grid: #e6e9ef; --size: #2f6fde; --added: #12805c; --time: #b0690a; --bad: #b3261e; --good: #12805c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12151a; --card: #1b2028; --edge: #2c333f; --text: #e7eaf0; --muted: #98a3b3;
    --grid: #2a313c; --size: #74a7ff; --added: #4fcfa0; --time: #f0b45c; --bad: #ff8a80; --good: #4fcfa0;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.25rem 3rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, "Segoe UI", "Liberation Sans", sans-serif; }
h1 { font-size: 1.55rem; margin: 0 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: 1.1rem; margin: 0; }
p { margin: .25rem 0; }
.muted, .remark { color: var(--muted); }
.words { font-family: ui-monospace, "Liberation Mono", monospace; font-size: .85rem; overflow-wrap: anywhere; }
section, .summary { background: var(--card); border: 1px solid var(--edge); border-radius: 12px; padding: 1.1rem 1.25rem; margin-top: 1.1rem; }
.summary.bad { border-left: 5px solid var(--bad); }
.summary.good { border-left: 5px solid var(--good); }
.summary ul { margin: .4rem 0 0; padding-left: 1.2rem; }
.summary li, td { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin-top: .6rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; font-size: .82rem; color: var(--muted); padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--edge); white-space: nowrap; }
td { padding: .45rem .9rem .45rem 0; border-bottom: 1px solid var(--edge); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
.number { text-align: right; white-space: nowrap; }
.facts { display: flex; flex-wrap: wrap; gap: .1rem 1.4rem; margin: .2rem 0 .8rem; color: var(--muted); font-size: .92rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1rem 1.5rem; }
.chart { margin: 0; }
.chart figcaption { font-size: .85rem; font-weight: 600; margin-bottom: .1rem; }
.chart svg { display: block; width: 100%; height: auto; }
.grid { stroke: var(--grid); stroke-width: 1; }
.tick { fill: var(--muted); font-size: 10px; }
.line { fill: none; stroke: var(--ink); stroke-width: 1.8; stroke-linejoin: round; }
.area { fill: var(--ink); opacity: .13; }
.dot, .bar { fill: var(--ink); }
.faded { opacity: .38; }
.target { fill: transparent; }
.target:hover { fill: var(--ink); opacity: .16; }
.size { --ink: var(--size); } .added { --ink: var(--added); } .time { --ink: var(--time); }
.bad-text { color: var(--bad); }
footer { margin-top: 1.4rem; color: var(--muted); font-size: .85rem; }
@media print { body { background: none; max-width: none; } section { break-inside: avoid; } }
`;
