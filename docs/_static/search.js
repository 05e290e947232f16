// How results of the search are ranked: names, then the guide, then reports and changes.
const BEHIND = /^(benchmarks\/reports\/|changelog)/;
const BEFORE = /^(guide\/|getting-started|choosing|auto_gallery\/)/;

var Scorer = {
  score: ([page, , , , score]) => score + (BEHIND.test(page) ? -20 : BEFORE.test(page) ? 3 : 0),
  objNameMatch: 40,
  objPartialMatch: 20,
  objPrio: { 0: 0, 1: 0, 2: 0 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
