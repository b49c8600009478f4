package outbound

import "context"

// Public is tested on its own: no test may dial a public address.
var Public = public

// MayConnect tells what is said before a packet goes to an address.
func (f *Fetcher) MayConnect(address string) error { return f.control("tcp", address, nil) }

// DialPlain dials an address without TLS.
func (f *Fetcher) DialPlain(ctx context.Context, address string) error {
	conn, err := f.dialPlain(ctx, "tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return err
}
