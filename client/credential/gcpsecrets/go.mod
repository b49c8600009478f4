module github.com/counterfoil/counterfoil/client/credential/gcpsecrets

go 1.26.0

require (
	cloud.google.com/go/auth v0.24.0
	github.com/counterfoil/counterfoil v0.0.0
)

require (
	cloud.google.com/go/compute/metadata v0.9.0 // indirect
	github.com/go-jose/go-jose/v4 v4.1.8 // indirect
	github.com/goccy/go-yaml v1.19.2 // indirect
	github.com/googleapis/enterprise-certificate-proxy v0.3.17 // indirect
	github.com/googleapis/gax-go/v2 v2.23.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/counterfoil/counterfoil => ../../..
