# Counterfoil's targets. 'make test' is all that a change must pass; the others
# are its long forms and its measurements.

GO          ?= go
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK  = golang.org/x/vuln/cmd/govulncheck@v1.9.0
GREMLINS     = github.com/go-gremlins/gremlins/cmd/gremlins@v0.6.0
NPM          = internal/apis/gqlhttp/testdata/audit cmd/counterfoil/testdata/interop
OIDC         = bench/server/oidc
FUZZTIME    ?= 60s
TARGETS      = darwin/arm64 windows/amd64 linux/arm64

# Packages that bring much stand in modules of their own, below those that they
# extend. What is asked of the first module is asked of each.
MODULES      = $(or $(shell git ls-files '*/go.mod' | grep -v /testdata/ | sed 's|/go.mod$$||'),$(error git ls-files names no modules))
each         = @for dir in $(MODULES); do echo "$$dir: $(1)"; (cd $$dir && $(1)) || exit 1; done

LONGEST = ./server/store/sqlite ./server ./cmd/counterfoil ./client/fleet

.PHONY: test
test: needs check generated vulnerabilities
	$(GO) test -race -timeout 18m $(LONGEST) ./... # in this order, so that no long one is left alone at the end
	$(GO) test -run TestTimeFails ./client # with its 10,000 goroutines, which are more than the race detector takes
	$(call each,$(GO) test -race ./...)

# What one runs before each commit: form and lint of all, and the tests that need
# nothing but Go, without the race detector; under a minute once the cache is warm.
.PHONY: quick
quick:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "not gofmt-ed: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) test . ./guard/... ./provider/... $$($(GO) list ./internal/... | grep -v /internal/apis) ./client/consumer ./client/credential/... ./server/admin ./server/importer ./server/internal/...

# What the tests use beside Go. Installed where that is possible, named where
# it is not.
.PHONY: needs
needs: $(NPM:%=%/node_modules/.package-lock.json)
	./needs.sh

%/node_modules/.package-lock.json: %/package-lock.json
	./needs.sh
	cd $* && npm ci --no-audit --no-fund --ignore-scripts
	touch $@

# Form, vet, lint, tidiness, a default build without cgo, and types as other systems
# see them.
.PHONY: check
check:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "not gofmt-ed: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff
	CGO_ENABLED=0 $(GO) build ./...
	$(GO) run ./internal/typecheck $(TARGETS)
	$(call each,$(GO) vet ./... && $(GO) run $(STATICCHECK) ./... && $(GO) mod tidy -diff && CGO_ENABLED=0 $(GO) build ./...)

# A new dependency of the first module is one of those below it, too.
.PHONY: tidy
tidy:
	$(GO) mod tidy
	$(call each,$(GO) mod tidy)

# Vet as on other systems. Not a part of 'test', which only type-checks for them: each
# system compiles all dependencies anew, which takes two cores two minutes.
.PHONY: cross
cross:
	@for target in $(TARGETS); do echo "$$target: go vet"; \
		GOOS=$${target%/*} GOARCH=$${target#*/} CGO_ENABLED=0 $(GO) vet ./... || exit 1; done

# Generated code must be what its sources give.
.PHONY: generated
generated:
	@sums() { git ls-files -z -c -o --exclude-standard internal/apis | xargs -0 sha256sum; }; \
	before=$$(sums); test -n "$$before" || exit 1; $(GO) generate ./internal/apis/... || exit 1; after=$$(sums); \
	test "$$before" = "$$after" || { echo "generated code was stale; 'go generate ./internal/apis/...' has made it anew: commit it"; git status --short internal/apis; exit 1; }

# Known vulnerabilities, where their database can be reached.
.PHONY: vulnerabilities
vulnerabilities:
	@for dir in . $(MODULES); do \
		if out=$$(cd $$dir && $(GO) run $(GOVULNCHECK) ./... 2>&1); then echo "$$dir: $$(echo "$$out" | tail -n 1)"; \
		elif echo "$$out" | grep -q '^Vulnerability #'; then echo "$$out"; exit 1; \
		elif echo "$$out" | grep -qE 'fetching vulnerabilities|dial tcp|no such host|connection refused|Forbidden|proxyconnect'; then \
			echo "govulncheck: its database cannot be reached from here, nothing was checked"; break; \
		else echo "$$out"; exit 1; fi; \
	done

# The benchmarks, each beside its floor in the same run: see bench/README.md.
.PHONY: bench
bench: needs
	./bench/run.sh

# The server beside its floor, itself with a million clients, and oidc-provider;
# about half an hour, most of it to make the clients.
.PHONY: bench-server
bench-server: needs $(OIDC)/node_modules/.package-lock.json
	$(GO) run ./bench/server -rounds $(or $(ROUNDS),5)

# The client beside x/oauth2 and beside no authentication; about eight minutes,
# most of it under renewal.
.PHONY: bench-client
bench-client:
	cd bench/client && $(GO) run . -rounds $(or $(ROUNDS),5) -duration $(or $(DURATION),20s)

# Whether the time of an answer tells client IDs that exist: the differences in µs,
# and z; about two minutes.
.PHONY: timing
timing:
	$(GO) run ./bench/timing -samples $(or $(SAMPLES),4000)

# The long forms of what 'make test' runs for seconds.
.PHONY: fuzz
fuzz:
	@for target in $$(grep -rhoE --include='*_test.go' '^func (Fuzz[A-Za-z0-9_]+)' . | sed 's/func //' | sort -u); do \
		for pkg in $$(grep -rlE --include='*_test.go' "^func $$target\(" . | xargs -n1 dirname | sort -u); do \
			echo "$$pkg $$target"; \
			if ! out=$$(cd $$pkg && $(GO) test . -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) 2>&1); then \
				echo "$$out"; \
				{ echo "$$out" | grep -q 'context deadline exceeded' && ! echo "$$out" | grep -q 'Failing input'; } || exit 1; \
				echo "the time was over while inputs were run: go.dev/issue/75804, no failure"; \
			fi; \
		done; \
	done

.PHONY: crash
crash: ROUNDS ?= 200
crash:
	$(GO) test -count=1 -timeout 60m -run 'Kill|Power' -v ./server/store/sqlite -args -kills=$(ROUNDS) -cuts=$(ROUNDS)
	COUNTERFOIL_CRASH_ROUNDS=$(ROUNDS) $(GO) test -count=1 -timeout 60m -run 'Kill' -v ./cmd/...
	COUNTERFOIL_HISTORIES=$(ROUNDS) $(GO) test -count=1 -timeout 60m -run 'Linearizable' -v ./server
	COUNTERFOIL_PAUSE=60s $(GO) test -count=1 -timeout 10m -run 'Paused' -v ./cmd/counterfoil

.PHONY: soak
soak: REQUESTS ?= 100000
soak:
	COUNTERFOIL_SOAK_REQUESTS=$(REQUESTS) $(GO) test -count=1 -timeout 120m -run 'Soak' -v ./cmd/...

# Changes one package in hundreds of ways and tells which changes its tests do not
# notice: see docs/testing.md. Each run of the tests is a new one, so that its
# time is the measure of which run hangs. Not with -test-cpu: this version of the
# tool passes it on in a form that go test refuses, and takes that for a test that
# fails.
.PHONY: mutants
mutants:
	@test -n "$(PKG)" || { echo "name the package: make mutants PKG=./internal/jose"; exit 2; }
	dir=$$(cd $(PKG) && dirname $$($(GO) env GOMOD)) && pkg=$$(realpath --relative-to=$$dir $(PKG)) && cd $$dir && \
	GOFLAGS='$(GOFLAGS) -count=1' $(GO) run $(GREMLINS) unleash ./$$pkg --workers $(or $(WORKERS),2) --timeout-coefficient $(or $(PATIENCE),20) \
		-E '_test\.go$$' -E 'josetest/' -S lctv

# The same for a package whose tests take a minute, or (TESTS=./other) are those
# of one that uses it: see bench/mutants.
.PHONY: mutants-large
mutants-large:
	@test -n "$(PKG)" -a -n "$(OUT)" || { echo "name the package and where the results go: make mutants-large PKG=./server OUT=/tmp/server"; exit 2; }
	$(GO) run ./bench/mutants -pkg $(PKG) -out $(OUT) -workers $(or $(WORKERS),2) -only '$(ONLY)' -skip '$(SKIP)' -tests '$(TESTS)'

# 50 processes share one token for a minute while they and Valkey are killed.
.PHONY: fleet
fleet: needs
	COUNTERFOIL_FLEET=1 $(GO) test -count=1 -timeout 10m -run 'ShowFleet' -v ./client/fleet
