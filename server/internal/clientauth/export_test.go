package clientauth

// Decoys returns a key of each algorithm that verifies no signature.
var Decoys = decoys
