package outbound

// Public is tested on its own: no test may dial a public address.
var Public = public

// MayConnect tells what is said before a packet goes to an address.
func (f *Fetcher) MayConnect(address string) error { return f.control("tcp", address, nil) }
