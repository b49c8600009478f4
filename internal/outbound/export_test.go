package outbound

// Public is tested on its own: no test may dial a public address.
var Public = public
