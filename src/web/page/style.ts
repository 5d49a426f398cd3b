/** The style of the page: quiet, from 320 pixels on, by day and by night, with the letters of the system. */

/** Every colour stands here, and each text on what it stands on has a contrast of 4.5 (WCAG 2.2, 1.4.3); a test computes it. */
export const PALETTE = {
  light: {
    ground: "#f5f6f7",
    sheet: "#ffffff",
    text: "#1b2126",
    muted: "#56616b",
    line: "#d6dce1",
    edge: "#7d8993",
    link: "#1a5a86",
    button: "#1f5f8b",
    onButton: "#ffffff",
    good: "#1a6437",
    onGood: "#e4f3e9",
    bad: "#9c2419",
    onBad: "#fbe9e7",
    care: "#734600",
    onCare: "#fdf0d8",
    calm: "#43505b",
    onCalm: "#e9edf0",
  },
  dark: {
    ground: "#14181b",
    sheet: "#1c2226",
    text: "#e6eaed",
    muted: "#a5b1ba",
    line: "#343d44",
    edge: "#78858f",
    link: "#8cc2e8",
    button: "#2b6a96",
    onButton: "#ffffff",
    good: "#93d8ab",
    onGood: "#1d3626",
    bad: "#f4aba2",
    onBad: "#43211e",
    care: "#eec680",
    onCare: "#3d3018",
    calm: "#bac5cd",
    onCalm: "#2b3339",
  },
} as const;

function colours(palette: Readonly<Record<string, string>>): string {
  return Object.entries(palette)
    .map(([name, value]) => `--${name}:${value};`)
    .join("");
}

export const STYLE = `
:root{color-scheme:light dark;${colours(PALETTE.light)}}
@media (prefers-color-scheme:dark){:root{${colours(PALETTE.dark)}}}
*{box-sizing:border-box}
html{font:16px/1.5 system-ui,sans-serif;background:var(--ground);color:var(--text);overflow-wrap:anywhere}
body{margin:0}
.wide{max-width:76rem;margin:0 auto;padding:0 1rem}
a{color:var(--link)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.skip{position:absolute;left:-999rem}
.skip:focus{position:static;display:block;padding:.5rem 1rem}
header{background:var(--sheet);border-bottom:1px solid var(--line)}
header .wide{display:flex;flex-wrap:wrap;gap:.25rem 1.5rem;align-items:center;min-height:3.25rem}
header .name{font-weight:650;font-size:1.1rem;color:var(--text);text-decoration:none;margin-right:auto}
header form{margin:0}
main.wide{padding-top:1.25rem;padding-bottom:1.5rem}
footer.wide{color:var(--muted);font-size:.875rem;padding-bottom:2rem}
h1{font-size:1.5rem;line-height:1.25;margin:.25rem 0 .75rem}
h2{font-size:1.125rem;margin:0 0 .75rem}
h3{font-size:1rem;margin:1rem 0 .5rem}
section,.said{background:var(--sheet);border:1px solid var(--line);border-radius:.5rem;padding:1rem;margin:0 0 1rem}
section>:last-child,.item>:last-child{margin-bottom:0}
p{margin:0 0 .75rem;max-width:70ch}
.muted,.advice,caption,dt{color:var(--muted)}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.said{border-left:4px solid var(--good)}
.well{border-left:4px solid var(--good)}
.ill{border-left:4px solid var(--bad)}
.state{display:inline-block;padding:.05rem .55rem;border-radius:1rem;font-size:.875rem;white-space:nowrap;color:var(--calm);background:var(--onCalm)}
.state.done{color:var(--good);background:var(--onGood)}
.state.failed{color:var(--bad);background:var(--onBad)}
.state.held,.state.retrying,.state.paused{color:var(--care);background:var(--onCare)}
ul.plain,ol.plain{list-style:none;margin:0;padding:0}
.item{padding:.75rem 0;border-top:1px solid var(--line)}
.item:first-child{border-top:0;padding-top:0}
.item p{margin-bottom:.4rem}
.acts{display:flex;flex-wrap:wrap;gap:.5rem;align-items:end;margin:.5rem 0 0}
.acts form,.row{display:flex;flex-wrap:wrap;gap:.5rem;align-items:end;margin:0}
button,.button,input,select{min-height:2.375rem}
label{display:block;font-size:.875rem;color:var(--muted)}
input,select,textarea,button,.button{font:inherit;color:inherit;border:1px solid var(--edge);border-radius:.375rem;padding:.35rem .7rem;background:var(--sheet);max-width:100%}
label input,label select,label textarea{display:block;color:var(--text);margin-top:.15rem}
textarea{width:100%}
button,.button{cursor:pointer;text-decoration:none;display:inline-block}
button.main{background:var(--button);border-color:var(--button);color:var(--onButton)}
.scroll{overflow-x:auto;position:relative;overflow-wrap:normal}
table{border-collapse:collapse;width:100%}
caption{text-align:left;font-size:.875rem;padding-bottom:.4rem}
th,td{text-align:left;vertical-align:top;padding:.45rem .9rem .45rem 0;border-top:1px solid var(--line);font-weight:inherit}
thead th{border-top:0;color:var(--muted);font-size:.875rem;white-space:nowrap}
tr>:last-child{padding-right:0}
.number{text-align:right;font-variant-numeric:tabular-nums}
td.number,.when{white-space:nowrap}
td.act{text-align:right}
.narrow{display:none}
.counts{display:flex;flex-wrap:wrap;gap:.4rem 1.25rem;margin:0 0 1rem;padding:0;list-style:none}
.counts strong{font-variant-numeric:tabular-nums}
dl.fields{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.3rem 1rem;margin:0 0 1rem}
dl.fields dd{margin:0}
.missing{color:var(--care)}
.beside{display:grid;gap:1rem;margin-bottom:1rem}
.beside section{margin:0;min-width:0}
.beside iframe{width:100%;height:70vh;min-height:24rem;border:1px solid var(--line);background:#fff}
.beside img{max-width:100%;height:auto;border:1px solid var(--line);background:#fff}
pre{white-space:pre-wrap;font:.875rem/1.45 ui-monospace,monospace;margin:0;max-height:70vh;overflow:auto}
.tree{margin:0;padding-left:1.1rem}
.timeline .when{color:var(--muted);display:inline-block;min-width:9.5rem}
code{font:.875em ui-monospace,monospace}
@media (min-width:60rem){.beside{grid-template-columns:3fr 2fr;align-items:start}.beside>:first-child{position:sticky;top:1rem}}
@media (max-width:40rem){th,td{padding-right:.5rem}.narrow{display:block}.broad{display:none}.timeline .when{display:block}dl.fields{grid-template-columns:1fr;gap:0}dl.fields dd{margin-bottom:.5rem}}
@media print{header,.acts,.skip,footer{display:none}}
`;
