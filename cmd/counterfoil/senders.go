package main

import (
	"fmt"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/serveconfig"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/alerts/mail"
	"github.com/counterfoil/counterfoil/server/alerts/webhook"
)

// configuredSenders returns what sends alerts as a configuration says.
func configuredSenders(config *serveconfig.Config, c counterfoil.Clock) ([]alerts.Sender, error) {
	var all []alerts.Sender
	for _, settings := range config.Webhooks {
		settings.Clock = c
		s, err := webhook.New(settings)
		if err != nil {
			return nil, fmt.Errorf("webhooks: %w", err)
		}
		all = append(all, s)
	}
	if config.Mail == nil {
		return all, nil
	}
	settings := *config.Mail
	settings.Clock = c
	senders, err := mail.New(settings)
	if err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	for _, s := range senders {
		all = append(all, s)
	}
	return all, nil
}
