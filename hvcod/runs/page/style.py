"""The style of pages of runs, in addition to that of all pages."""

STYLE = """
body { margin: 1.5rem auto }
header { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 2rem;
         border-bottom: 1px solid var(--line); margin-bottom: 1.25rem }
header h1 { margin: 0 } header p { margin: .2rem 0 .8rem; color: var(--dim) }
.written { font-size: 13px; text-align: right; max-width: 28rem; margin-left: auto }
.stale .written { color: var(--bad); font-weight: 600 }
.stale main > :not(header) { opacity: .55 }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr));
         gap: 1rem; margin: 0 0 1.5rem }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
        padding: .8rem 1rem; break-inside: avoid; --state: var(--dim) }
.card.busy { --state: var(--busy) } .card.good { --state: var(--good) }
.card.warn { --state: var(--warn) } .card.bad { --state: var(--bad) }
.card h2 { display: flex; align-items: baseline; margin: 0 0 .6rem }
.card p { display: flex; justify-content: space-between; margin: .3rem 0 .5rem }
.state { margin-left: auto; color: var(--state); border: 1px solid var(--state);
         border-radius: 1em; padding: 0 .7em; font-size: 13px; font-weight: 600 }
.bar { height: 6px; background: var(--line); border-radius: 3px; overflow: hidden }
.bar div { height: 100%; background: var(--state) }
.bar, .bar div, .key { print-color-adjust: exact; -webkit-print-color-adjust: exact }
dl { display: grid; grid-template-columns: auto auto; gap: .1rem .8rem; margin: 0;
     font-variant-numeric: tabular-nums }
dt { color: var(--dim) } dd { margin: 0; text-align: right } dd small { white-space: nowrap }
section .warning { margin: .4rem 0 } section { margin: 0 0 1.5rem } .cards section { margin: 0 }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr));
            gap: 1.5rem 2rem; margin: 0 0 2rem }
.pictures figure { break-inside: avoid } .pictures figure > svg { width: 100% }
.pictures h2 { margin: 0 0 .2rem; font-size: 1rem }
.legend, figcaption { font-size: 13px; color: var(--dim) }
.item { display: inline-block; margin-right: 1.1em } .item svg { vertical-align: middle }
details { margin: 0 0 .8rem } summary { cursor: pointer; color: var(--dim) }
pre { overflow-x: auto; background: var(--card); padding: .8rem; border-radius: 6px }
footer { border-top: 1px solid var(--line); padding-top: .5rem; margin-top: 2rem }
@media (max-width: 600px) {
  body { margin: .8rem auto } .written { text-align: left; margin-left: 0 }
  svg text { font-size: 17px }
}
@media print {
  body { margin: 0; max-width: none; font-size: 12px } details { display: none }
  .pictures { grid-template-columns: 1fr 1fr; gap: 1rem }
  th, td { padding: .1rem .4rem } .wide { overflow: visible }
}
"""
