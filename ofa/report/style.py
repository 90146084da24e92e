"""How ``report.html`` looks, in light and dark, and how its tables sort."""

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--panel:#f7f8fa;--fg:#1b1f24;--soft:#5b6470;--rule:#d5dae0;--grid:#e6e9ed;
--band:#eef1f5;--limit:#c0262d;--c0:#2563b0;--c1:#c2600c;--c2:#187a43;--c3:#7b4bb3;--c4:#0b7f8a;--c5:#5b6470;--c6:#a8326e;
--k0:#bcd4f0;--k1:#7fb0e4;--k2:#3f7fc6;--k3:#1f4e8c}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--panel:#1b1f25;--fg:#e6e9ed;--soft:#a0a9b4;--rule:#3a424c;
--grid:#2a3038;--band:#20262d;--limit:#ff7b7b;--c0:#6aa9f5;--c1:#f2a154;--c2:#5fca8c;--c3:#b996ec;--c4:#4cc3cf;--c5:#a0a9b4;
--c6:#ec85b5;--k0:#2c4a6e;--k1:#3f73ad;--k2:#6aa9f5;--k3:#b5d5ff}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);margin:0 auto;max-width:1280px;
padding:1rem}
h1{font-size:1.5rem;margin:.4rem 0}h2{font-size:1.15rem;margin:2rem 0 .6rem}h3{font-size:1rem;margin:1rem 0 .4rem}
p{margin:.4rem 0}
header p,.note{color:var(--soft)}
h1,.note,header p{overflow-wrap:anywhere}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{border-bottom:1px solid var(--rule);padding:.35rem .6rem;text-align:left;vertical-align:top}
th:first-child,td:first-child{position:sticky;left:0;background:var(--bg)}
td.number,th.number{text-align:right}
.short{white-space:nowrap}td.long{overflow-wrap:anywhere;min-width:10rem}
section>.scroll{background:linear-gradient(to left,var(--bg) 40%,transparent) right/40px 100% no-repeat local,
linear-gradient(to left,var(--rule),transparent) right/14px 100% no-repeat scroll}
th{vertical-align:bottom;padding:0}
th button{all:unset;box-sizing:border-box;display:block;padding:.35rem .6rem;cursor:pointer;
font-weight:600;white-space:pre-line}
th.number button{margin-left:auto}
th button:hover{background:var(--panel)}
th button:focus-visible,.scroll:focus-visible{outline:2px solid var(--c0);outline-offset:-2px}
th button::after{content:"\\00a0\\2195";color:var(--soft)}
th[aria-sort=ascending] button::after{content:"\\00a0\\2191";color:var(--fg)}
th[aria-sort=descending] button::after{content:"\\00a0\\2193";color:var(--fg)}
tr.chosen td{font-weight:600}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,350px),1fr));gap:1rem}
figure{margin:0;padding:.7rem;background:var(--panel);border:1px solid var(--rule);border-radius:6px;min-width:0}
.row{display:flex;flex-wrap:wrap;gap:1rem}
figure.blocks{max-width:100%}
figcaption{font-weight:600;margin-bottom:.2rem;overflow-wrap:anywhere}
figure>svg{display:block;width:100%;height:auto}
svg text{font:12px system-ui,sans-serif;fill:var(--soft)}
svg text.name{fill:var(--fg)}svg text.over{fill:var(--limit)}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;list-style:none;margin:.4rem 0 0;padding:0;
font-size:.82rem;color:var(--soft)}
.key{width:24px;height:16px;vertical-align:-3px;margin-right:.35rem}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}
.c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}
.k0{fill:var(--k0)}.k1{fill:var(--k1)}.k2{fill:var(--k2)}.k3{fill:var(--k3)}
.rule,.axis,.line,.join,.limit,.guide,.spread{fill:none}
.rule{stroke:var(--grid)}.axis{stroke:var(--soft)}.line{stroke:var(--c);stroke-width:1.6}
.dot{fill:var(--c)}.square{fill:var(--c);stroke:var(--panel)}.ring{fill:var(--panel);stroke:var(--c);stroke-width:1.6}
.shade{fill:var(--c);opacity:.15}
.join{stroke:var(--soft)}.spread{stroke:var(--c);opacity:.45}.guide{stroke:var(--soft);stroke-dasharray:2 3}
.limit{stroke:var(--limit);stroke-width:1.4;stroke-dasharray:6 4}
.band{fill:none}.band.even{fill:var(--band)}.image{fill:none;stroke:var(--soft)}
"""

# Sorting is stable, so that a second column can be sorted within a first one; cells without a value stay last.
SCRIPT = """
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const number = head.classList.contains("number");
    const order = (a, b) => {
      const first = key(a), second = key(b);
      if (!number) return sign * first.localeCompare(second);
      const missing = isNaN(parseFloat(first)) - isNaN(parseFloat(second));
      return missing || (isNaN(parseFloat(first)) ? 0 : sign * (first - second));
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }));
}
"""
