"""The style sheet of the page: system fonts, light and dark, from 360 pixels wide to paper."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b2430; --soft: #596575; --line: #dfe4ea; --wash: #f5f7f9; --card: #ffffff;
  --link: #0a5a9c; --good: #0b6b45; --good-wash: #e9f5ef; --bad: #a8321c; --bad-wash: #fbeeea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181d; --ink: #e3e8ee; --soft: #9aa6b4; --line: #2e363f; --wash: #1b2128; --card: #e9edf1;
    --link: #7cb8ec; --good: #6fd0a2; --good-wash: #15291f; --bad: #f29a85; --bad-wash: #33201b;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body {
  margin: 0 auto; padding: 2.5rem 1.5rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  display: grid; grid-template: "header header" auto "nav main" 1fr "nav footer" auto / 12rem minmax(0, 1fr); column-gap: 3rem;
  overflow-wrap: anywhere;
}
header { grid-area: header; border-bottom: 1px solid var(--line); padding-bottom: 2rem; margin-bottom: 2rem; }
nav { grid-area: nav; align-self: start; position: sticky; top: 1.5rem; }
main { grid-area: main; } footer { grid-area: footer; }
h1, h2, caption, figcaption, .gallery span { text-wrap: balance; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0; letter-spacing: -0.015em; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 1rem; letter-spacing: -0.01em; }
p, ul { max-width: 44rem; margin: 0 0 1rem; } li + li { margin-top: 0.2rem; }
a { color: var(--link); }
code { font: 0.9em ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; background: var(--wash);
  padding: 0.1em 0.3em; border-radius: 3px; }
.subtitle { color: var(--soft); font-size: 1.05rem; margin: 0.4rem 0 0; }
.note { color: var(--soft); font-size: 0.875rem; line-height: 1.45; margin: 0.6rem 0 0; }
section { margin-bottom: 3.25rem; scroll-margin-top: 1.5rem; }
section > *:last-child { margin-bottom: 0; }
footer { border-top: 1px solid var(--line); padding-top: 1rem; color: var(--soft); font-size: 0.875rem; }
footer p { margin: 0; }

nav h2 { font-size: 0.8125rem; color: var(--soft); font-weight: 600; letter-spacing: 0.02em; margin: 0 0 0.5rem; }
nav ol { list-style: none; margin: 0; padding: 0; font-size: 0.9375rem; line-height: 1.35; }
nav li { margin: 0 0 0.55rem; }
nav a { text-decoration: none; } nav a:hover { text-decoration: underline; }

.verdict { display: flex; gap: 0.75rem; max-width: none; margin: 1.5rem 0; padding: 1.1rem 1.25rem; border-radius: 6px;
  font-size: 1.3rem; line-height: 1.4; background: var(--wash); border-left: 4px solid var(--soft); }
.verdict.good { background: var(--good-wash); border-color: var(--good); }
.verdict.bad { background: var(--bad-wash); border-color: var(--bad); }
.mark { font-weight: 700; color: var(--soft); } .good .mark { color: var(--good); } .bad .mark { color: var(--bad); }
section .verdict { font-size: 1.1rem; padding: 0.8rem 1rem; margin: 0 0 1.25rem; }

.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 9rem), 1fr)); gap: 1.25rem 2rem;
  margin: 1.5rem 0; }
.numbers div { border-top: 2px solid var(--line); padding-top: 0.6rem; }
.numbers dt { color: var(--soft); font-size: 0.875rem; line-height: 1.35; }
.numbers dd { margin: 0; }
.numbers .value { font-size: 1.75rem; line-height: 1.3; font-weight: 600; letter-spacing: -0.01em;
  font-variant-numeric: tabular-nums; }
.numbers .mark { font-size: 1.1rem; margin-left: 0.4rem; }
.numbers .note { margin: 0; }
header > *:last-child { margin-bottom: 0; }

.table { overflow-x: auto; margin: 0 0 2rem; overflow-wrap: normal; }
table { border-collapse: collapse; font-size: 0.9375rem; line-height: 1.4; min-width: min(100%, 30rem);
  border-bottom: 1.5px solid var(--ink); }
caption, figcaption { text-align: left; font-weight: 600; margin: 0 0 0.6rem; } caption { padding-bottom: 0.5rem; }
th, td { text-align: left; padding: 0.4rem 1.25rem 0.4rem 0; vertical-align: baseline; }
th:last-child, td:last-child { padding-right: 0; }
thead th { font-weight: 600; border-top: 1.5px solid var(--ink); border-bottom: 1px solid var(--ink); }
td { overflow-wrap: break-word; max-width: max(15rem, min(26rem, 60vw)); } td:first-child { min-width: 7rem; }
tbody tr + tr td { border-top: 1px solid var(--line); }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }

figure { margin: 0 0 2rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.5rem;
  margin: 0 0 2rem; }
.charts .chart { margin: 0; }
.chart { max-width: 32rem; }
.chart > div { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 0.75rem; }
.chart svg { display: block; width: 100%; height: auto; overflow: visible; }
.gallery ul { display: grid; grid-template-columns: repeat(auto-fill, minmax(6rem, 1fr)); gap: 1rem 0.75rem; max-width: none;
  list-style: none; margin: 0; padding: 0; }
.gallery li { margin: 0; }
.gallery img { display: block; width: 100%; height: auto; aspect-ratio: 1; object-fit: contain; border-radius: 3px; }
.gallery img[src^="data:image/png"] { image-rendering: pixelated; }
.gallery span { display: block; margin-top: 0.3rem; font-size: 0.8125rem; line-height: 1.35; color: var(--soft); }

@media (max-width: 60rem) {
  body { display: block; max-width: 46rem; padding: 1.5rem 1rem; }
  nav { position: static; margin-bottom: 2.25rem; } nav ol { display: flex; flex-wrap: wrap; gap: 0.35rem 1.1rem; }
  nav li { margin: 0; }
  h1 { font-size: 1.6rem; } .verdict { font-size: 1.15rem; padding: 0.9rem 1rem; }
  .chart > div { padding: 0.3rem; }
}
@media print {
  :root { font-size: 10pt; --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --wash: #fff; --card: #fff; --link: #000;
    --good: #0b6b45; --good-wash: #fff; --bad: #a8321c; --bad-wash: #fff; }
  body { display: block; max-width: none; padding: 0; }
  nav { display: none; }
  .table { overflow: visible; }
  figure, tr, .verdict, .numbers, .gallery li { break-inside: avoid; } h2, caption, figcaption { break-after: avoid; }
}
"""
