package serveconfig

// limitsSettings bounds what callers can use up.
type limitsSettings struct {
	Connections connectionSettings `yaml:"connections,omitempty"`
}
