package admin

// Routes are the operations as METHOD and path.
func Routes() map[string]string {
	all := map[string]string{}
	for _, o := range operations {
		path := o.path
		if path == "/{$}" {
			path = "/"
		}
		all[o.method+" "+path] = o.scope
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
