package relational

// CutEvent takes the event at the beginning of b, which has the form of a run.
var CutEvent = cutEvent
