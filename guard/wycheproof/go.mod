module github.com/counterfoil/counterfoil/guard/wycheproof

go 1.26.4

require (
	github.com/c2sp/wycheproof v0.0.0-20260902155932-3fa63dd0344a
	github.com/counterfoil/counterfoil v0.0.0
)

require (
	github.com/go-jose/go-jose/v4 v4.1.8 // indirect
	github.com/goccy/go-yaml v1.19.2 // indirect
	golang.org/x/sync v0.24.0 // indirect
)

replace github.com/counterfoil/counterfoil => ../..
