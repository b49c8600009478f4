package admin

import "github.com/counterfoil/counterfoil"

// Routes are the scopes of the operations by METHOD and path.
func Routes() map[string]counterfoil.Scopes {
	all := map[string]counterfoil.Scopes{}
	for _, o := range operations {
		path := o.path
		if path == "/{$}" {
			path = "/"
		}
		all[o.method+" "+path] = o.scopes
	}
	return all
}

// Parse and Merge are what reads JSON; Decode puts it into a NewClient.
var (
	Parse = parse
	Merge = merge
)

func Decode(v []byte) (NewClient, int) {
	var n NewClient
	return n, len(decode(v, &n))
}
