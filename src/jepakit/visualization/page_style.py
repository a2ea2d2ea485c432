"""The look of the page: one style sheet for light and dark, narrow and wide, screen and paper."""

LIGHT = {
    "paper": "#f6f7fb",
    "card": "#ffffff",
    "ink": "#1c2030",
    "quiet": "#5b6172",
    "rule": "#dfe2ec",
    "accent": "#4338ca",
    "wash": "#eceaff",
    "good": "#0f6b4f",
    "good-wash": "#e2f5ec",
    "warning": "#a8201a",
    "warning-wash": "#fdecea",
    "series-1": "#4f46e5",
    "series-2": "#c2410c",
    "series-3": "#0f766e",
    "series-4": "#be185d",
    "series-5": "#8a5a06",
    "series-6": "#0369a1",
}

DARK = {
    "paper": "#10121a",
    "card": "#191c27",
    "ink": "#eceef6",
    "quiet": "#a4abbf",
    "rule": "#2c3142",
    "accent": "#b3b1ff",
    "wash": "#28264d",
    "good": "#74e0b3",
    "good-wash": "#12352a",
    "warning": "#ff9d92",
    "warning-wash": "#43201e",
    "series-1": "#a5a3ff",
    "series-2": "#ff9a62",
    "series-3": "#4fd6c4",
    "series-4": "#ff8fc0",
    "series-5": "#f2c14e",
    "series-6": "#6cc5ff",
}

_RULES = """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);
 font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",sans-serif}
header,main,footer{max-width:76rem;margin-inline:auto;padding-inline:clamp(1rem,4vw,2.5rem)}
header{padding-block:clamp(2rem,6vw,4rem) 1.25rem}
h1{font-size:clamp(1.75rem,1.2rem + 2.4vw,2.9rem);line-height:1.12;letter-spacing:-.022em;
 margin:0;text-wrap:balance;overflow-wrap:anywhere}
h1::before{content:"";display:block;width:3.5rem;height:.4rem;margin-bottom:1.3rem;
 border-radius:1rem;background:linear-gradient(90deg,var(--series-1),var(--series-4),var(--series-5))}
.lead{max-width:44rem;margin:.8rem 0 0;color:var(--quiet);font-size:1.1rem;text-wrap:pretty}
nav ul{display:flex;flex-wrap:wrap;gap:.5rem;list-style:none;margin:1.5rem 0 0;padding:0}
nav a{display:block;padding:.3rem .85rem;border:1px solid var(--rule);border-radius:2rem;
 background:var(--card);color:var(--ink);font-size:.9rem;text-decoration:none}
nav a:hover{border-color:var(--accent);color:var(--accent)}
a{color:var(--accent)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:.3rem}
.skip{position:absolute;left:-99rem}
.skip:focus{left:1rem;top:1rem;padding:.5rem 1rem;background:var(--card)}
section{margin-block:clamp(1.75rem,4vw,3rem);scroll-margin-top:1rem}
h2{font-size:clamp(1.3rem,1.1rem + .8vw,1.65rem);line-height:1.25;letter-spacing:-.012em;
 margin:0 0 .9rem}
p{max-width:46rem;margin:0;overflow-wrap:break-word;text-wrap:pretty}
p+p{margin-top:.8rem}
.good,.warning{max-width:48rem;padding:.8rem 1.1rem;border-left:.3rem solid;border-radius:.5rem}
.good{background:var(--good-wash);border-color:var(--good)}
.warning{background:var(--warning-wash);border-color:var(--warning)}
.tone{font-weight:650;margin-right:.4em}
.good .tone{color:var(--good)}.warning .tone{color:var(--warning)}
figure{margin:0;min-width:0}
.card{background:var(--card);border:1px solid var(--rule);border-radius:.9rem;
 padding:clamp(.75rem,2vw,1.25rem)}
.gallery{display:grid;gap:clamp(.75rem,2vw,1.25rem);align-items:start;
 grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--narrowest)),1fr))}
figcaption{margin-top:.7rem;color:var(--quiet);font-size:.925rem;max-width:46rem}
img,.drawing svg{display:block;width:100%;height:auto}
img{border-radius:.4rem}
.single img,.single .drawing{max-width:var(--natural)}
.single .drawing{overflow-x:auto}
.single .drawing svg{min-width:36rem}
.columns{display:grid;grid-auto-flow:column;grid-auto-columns:1fr;gap:.4rem;
 margin:0 0 .45rem;max-width:var(--natural);color:var(--quiet);font-size:.8rem;line-height:1.3}
.gallery .columns{max-width:none}
.columns span{min-width:0;overflow-wrap:anywhere}
.wide{overflow-x:auto}
.wide>div{min-width:60rem}
.scroll{overflow-x:auto;position:relative}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
.tabular{padding:0;overflow:hidden}
.tabular figcaption{margin:0;padding:.8rem 1.1rem;max-width:none;border-top:1px solid var(--rule)}
th,td{padding:.6rem clamp(.7rem,2vw,1.1rem);text-align:right;white-space:nowrap}
th:first-child{position:sticky;left:0;background:var(--card);text-align:left;
 white-space:normal;min-width:7rem}
thead th{color:var(--quiet);font-size:.85rem;font-weight:600;border-bottom:1px solid var(--rule)}
tbody th{font-weight:500}
tbody tr+tr>*{border-top:1px solid var(--rule)}
.best{font-weight:700}
.best span{display:inline-block;padding:.05rem .55rem;margin-right:-.55rem;border-radius:.45rem;
 background:var(--wash);color:var(--accent)}
.shaded{background:color-mix(in srgb,var(--accent) calc(var(--share)*45%),transparent)}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(clamp(8rem,16vw,11.5rem),1fr));
 gap:1px;margin:0;padding:0;overflow:hidden}
.facts div{padding:.8rem 1.1rem;box-shadow:0 0 0 1px var(--rule)}
dt{color:var(--quiet);font-size:.85rem}
dd{margin:.05rem 0 0;font-weight:600;overflow-wrap:anywhere}
pre{margin:0;overflow-x:auto;font:.875rem/1.65 ui-monospace,"SF Mono",Menlo,Consolas,
 "Liberation Mono",monospace}
section>:not(h2)+*{margin-top:1.1rem}
footer{padding-block:1.5rem 3rem;color:var(--quiet);font-size:.875rem}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
@media print{nav,.skip{display:none}.card,tr{break-inside:avoid}body{background:#fff}}
"""


def style_sheet() -> str:
    """The whole CSS of the page."""
    light, dark = (
        "".join(f"--{name}:{colour};" for name, colour in palette.items())
        for palette in (LIGHT, DARK)
    )
    night = f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return f":root{{{light}}}\n{night}{_RULES}"
