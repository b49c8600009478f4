package serveconfig

// limitsSettings bounds what callers can use up.
type limitsSettings struct {
	Connections connectionSettings `yaml:"connections,omitempty"`
	Guesses     guessSettings      `yaml:"guesses,omitempty"`
	Requests    requestSettings    `yaml:"token_requests,omitempty"`
	// Direct says that callers connect without a proxy that is not named.
	Direct bool `yaml:"direct,omitempty"`
}
