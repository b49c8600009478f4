package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/internal/origin"
	"github.com/counterfoil/counterfoil/server/store"
)

// Alert is an alert as an operator sees it.
type Alert struct {
	alerts.Alert
	// SilencedUntil is when it is sent again; zero when it is not silenced.
	SilencedUntil time.Time `json:"silenced_until,omitzero"`
}

// AlertPage is a part of the alerts.
type AlertPage struct {
	Alerts []Alert `json:"alerts"`
	// Next is the query's Before for the next page; 0 at the end.
	Next int64 `json:"next,omitempty"`
	// Dropped is how many alerts were not sent to somebody because it failed for too
	// long, or because too many waited.
	Dropped int64 `json:"dropped_deliveries,omitempty"`
}

// AlertFilter selects alerts. Empty fields select all.
type AlertFilter struct {
	Kind     alerts.Kind `json:"kind,omitempty"`
	Realm    string      `json:"realm,omitempty"`
	ClientID string      `json:"client_id,omitempty"`
}

// Acknowledgement says which open alerts to acknowledge: those with these IDs, those
// that a filter selects, or All.
type Acknowledgement struct {
	IDs []int64 `json:"ids,omitempty"`
	AlertFilter
	All bool `json:"all,omitempty"`
}

// NewSilence holds the parameters of CreateSilence.
type NewSilence struct {
	// A * at the end of ClientID stands for any ending.
	AlertFilter
	// All silences whatever happens; otherwise a field of the filter is set.
	All bool `json:"all,omitempty"`
	// For is how long it lasts, as 2h: at most 720h.
	For string `json:"for"`
}

type (
	acknowledgedView struct {
		IDs []int64 `json:"acknowledged"`
	}
	silencesView struct {
		Silences []alerts.Silence `json:"silences"`
	}
)

// maxAlertIDs bounds the IDs of an Acknowledgement.
const maxAlertIDs = 1000

// check refuses a kind or a realm that there is not.
func (l *Local) checkFilter(f *AlertFilter) error {
	if f.Kind != "" && !slices.Contains(alerts.Kinds(), f.Kind) {
		all := make([]string, 0, 16)
		for _, k := range alerts.Kinds() {
			all = append(all, string(k))
		}
		return problem(wrongValues, "there is no kind of alerts %s: the kinds are %s", show(event.Clean(string(f.Kind), maxShown)),
			strings.Join(all, ", "))
	}
	if f.Realm != "" {
		if _, err := l.realm(f.Realm); err != nil {
			return err
		}
	}
	return nil
}

// Alerts returns a part of the alerts, the newest first.
func (l *Local) Alerts(ctx context.Context, q store.AlertQuery) (AlertPage, error) {
	page := AlertPage{Alerts: []Alert{}}
	if err := l.checkFilter(&AlertFilter{q.Kind, q.Realm, q.ClientID}); err != nil {
		return page, err
	}
	limit := bounded(q.Limit)
	q.Limit = limit + 1
	found, err := l.Store.Alerts(ctx, q)
	if err != nil {
		return page, err
	}
	if len(found) > limit {
		found = found[:limit]
		page.Next = found[limit-1].ID
	}
	now := l.Clock.Now()
	silences, err := l.Store.Silences(ctx, now)
	if err != nil {
		return page, err
	}
	for i := range found {
		a := Alert{Alert: found[i]}
		if a.Acknowledged.IsZero() {
			a.SilencedUntil = alerts.Silenced(&found[i], silences, now)
		}
		page.Alerts = append(page.Alerts, a)
	}
	state, err := l.Store.AlertState(ctx)
	page.Dropped = state.Dropped
	return page, err
}

// AcknowledgeAlerts acknowledges open alerts, and returns their IDs.
func (l *Local) AcknowledgeAlerts(ctx context.Context, a Acknowledgement) ([]int64, error) {
	switch {
	case a.All && (len(a.IDs) > 0 || a.AlertFilter != AlertFilter{}):
		return nil, problem(wrongValues, "all acknowledges every alert: name nothing else")
	case !a.All && len(a.IDs) == 0 && a.AlertFilter == AlertFilter{}:
		return nil, problem(wrongValues, "nothing to acknowledge: give ids, kind, realm, client_id or all")
	case len(a.IDs) > maxAlertIDs:
		return nil, problem(wrongValues, "%d ids are more than %d", len(a.IDs), maxAlertIDs)
	}
	if err := l.checkFilter(&a.AlertFilter); err != nil {
		return nil, err
	}
	detail := a.AlertFilter.text()
	if len(a.IDs) > 0 {
		detail = strings.TrimSpace(fmt.Sprint(strings.Trim(fmt.Sprint(a.IDs), "[]"), " ", detail))
	}
	if a.All {
		detail = "all"
	}
	done, err := origin.Store(l.Store).AcknowledgeAlerts(ctx,
		store.AlertQuery{IDs: a.IDs, Kind: a.Kind, Realm: a.Realm, ClientID: a.ClientID}, l.Actor,
		l.alertEvent(counterfoil.EventAlertAcknowledged, &a.AlertFilter, detail))
	if err == nil && len(done) == 0 && len(a.IDs) > 0 {
		err = problem(NoSuchAlert, "there is no open alert of that number: it may be acknowledged already")
	}
	return append([]int64{}, done...), err
}

// text names what a filter selects.
func (f *AlertFilter) text() string {
	var all []string
	for _, part := range [][2]string{{"kind", string(f.Kind)}, {"realm", f.Realm}, {"client_id", f.ClientID}} {
		if part[1] != "" {
			all = append(all, part[0]+"="+part[1])
		}
	}
	return strings.Join(all, " ")
}

func (l *Local) alertEvent(kind string, f *AlertFilter, detail string) counterfoil.Event {
	return counterfoil.Event{
		Type: kind, Time: l.Clock.Now(), Realm: f.Realm, ClientID: event.ClientID(f.ClientID), Success: true,
		Actor: event.Clean(l.Actor, event.MaxClientID), Detail: event.Clean(cfsecret.Masked(detail), event.MaxClaim),
	}
}

// CreateSilence keeps alerts from being sent for a time.
func (l *Local) CreateSilence(ctx context.Context, n NewSilence) (alerts.Silence, error) {
	none := alerts.Silence{}
	named := n.AlertFilter != AlertFilter{}
	lasts, err := time.ParseDuration(n.For)
	switch {
	case n.All && named:
		return none, problem(wrongValues, "all silences every alert: name nothing else")
	case !n.All && !named:
		return none, problem(wrongValues, "nothing to silence: give kind, realm, client_id or all")
	case err != nil || lasts < time.Minute || lasts > alerts.MaxSilence:
		most := int(alerts.MaxSilence.Hours())
		return none, invalid(wrongValues, []Fault{{"/for", fmt.Sprintf("it must be a duration from 1m to %dh, as 2h", most)}})
	case len(n.ClientID) > event.MaxClientID || strings.Contains(strings.TrimSuffix(n.ClientID, "*"), "*"):
		return none, invalid(wrongValues, []Fault{{"/client_id", "it must be a client ID, with a * at its end only"}})
	}
	if err := l.checkFilter(&n.AlertFilter); err != nil {
		return none, err
	}
	now := l.Clock.Now()
	s := alerts.Silence{
		Kind: n.Kind, Realm: n.Realm, ClientID: n.ClientID, Created: now, Until: now.Add(lasts),
		CreatedBy: event.Clean(l.Actor, event.MaxClientID),
	}
	made, err := origin.Store(l.Store).CreateSilence(ctx, s, l.alertEvent(counterfoil.EventSilenceCreated, &n.AlertFilter,
		strings.TrimSpace("until "+s.Until.UTC().Format(time.RFC3339)+" "+n.text())))
	if errors.Is(err, store.ErrTooManySilences) {
		return none, problem(Conflict, "there are %d silences already: delete one", store.MaxSilences)
	}
	made.Created, made.Until = utc(made.Created), utc(made.Until)
	return made, err
}

// Silences returns the silences that have not ended.
func (l *Local) Silences(ctx context.Context) ([]alerts.Silence, error) {
	all, err := l.Store.Silences(ctx, l.Clock.Now())
	return append([]alerts.Silence{}, all...), err
}

// DeleteSilence ends a silence.
func (l *Local) DeleteSilence(ctx context.Context, id int64) error {
	e := l.alertEvent(counterfoil.EventSilenceDeleted, &AlertFilter{}, strconv.FormatInt(id, 10))
	err := origin.Store(l.Store).DeleteSilence(ctx, id, e)
	if errors.Is(err, store.ErrNotFound) {
		return problem(NoSuchSilence, "there is no silence %d: it may have ended", id)
	}
	return err
}

// Alerts returns a part of the alerts, the newest first.
func (r *Remote) Alerts(ctx context.Context, q store.AlertQuery) (AlertPage, error) {
	request := get([]string{"alerts"})
	request.values = url.Values{"limit": {strconv.Itoa(bounded(q.Limit))}}
	for name, value := range map[string]string{"kind": string(q.Kind), "realm": q.Realm, "client": q.ClientID} {
		if value != "" {
			request.values.Set(name, value)
		}
	}
	if q.Acknowledged {
		request.values.Set("acknowledged", "true")
	}
	if q.Before != 0 {
		request.values.Set("before", strconv.FormatInt(q.Before, 10))
	}
	var v AlertPage
	err := r.do(ctx, request, &v)
	return v, err
}

// AcknowledgeAlerts acknowledges open alerts, and returns their IDs.
func (r *Remote) AcknowledgeAlerts(ctx context.Context, a Acknowledgement) ([]int64, error) {
	q, err := withBody(http.MethodPost, []string{"alerts", "acknowledge"}, a)
	if err != nil {
		return nil, err
	}
	var v acknowledgedView
	err = r.do(ctx, q, &v)
	return v.IDs, err
}

// Silences returns the silences that have not ended.
func (r *Remote) Silences(ctx context.Context) ([]alerts.Silence, error) {
	var v silencesView
	err := r.do(ctx, get([]string{"silences"}), &v)
	return v.Silences, err
}

// CreateSilence keeps alerts from being sent for a time.
func (r *Remote) CreateSilence(ctx context.Context, n NewSilence) (alerts.Silence, error) {
	q, err := withBody(http.MethodPost, []string{"silences"}, n)
	if err != nil {
		return alerts.Silence{}, err
	}
	var v alerts.Silence
	err = r.do(ctx, q, &v)
	return v, err
}

// DeleteSilence ends a silence.
func (r *Remote) DeleteSilence(ctx context.Context, id int64) error {
	return r.do(ctx, query{method: http.MethodDelete, path: []string{"silences", strconv.FormatInt(id, 10)}}, nil)
}

func (c *call) alerts() (answer, error) {
	limit, err := c.number("limit")
	if err != nil {
		return answer{}, err
	}
	before, err := c.number("before")
	if err != nil {
		return answer{}, err
	}
	acknowledged, err := c.flag("acknowledged")
	if err != nil {
		return answer{}, err
	}
	page, err := c.admin.Alerts(c.Context(), store.AlertQuery{
		Kind: alerts.Kind(c.query.Get("kind")), Realm: c.query.Get("realm"), ClientID: c.query.Get("client"),
		Acknowledged: acknowledged, Before: before, Limit: int(min(limit, maxLimit)),
	})
	if err != nil {
		return answer{}, err
	}
	return good(page)
}

func (c *call) acknowledgeAlerts() (answer, error) {
	var a Acknowledgement
	if err := c.body(&a, false); err != nil {
		return answer{}, err
	}
	done, err := c.admin.AcknowledgeAlerts(c.Context(), a)
	if err != nil {
		return answer{}, err
	}
	return good(acknowledgedView{done})
}

func (c *call) silences() (answer, error) {
	all, err := c.admin.Silences(c.Context())
	if err != nil {
		return answer{}, err
	}
	return good(silencesView{all})
}

func (c *call) createSilence() (answer, error) {
	var n NewSilence
	if err := c.body(&n, false); err != nil {
		return answer{}, err
	}
	made, err := c.admin.CreateSilence(c.Context(), n)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: made}, nil
}

func (c *call) deleteSilence() (answer, error) {
	id, err := strconv.ParseInt(c.PathValue("silence"), 10, 64)
	if err != nil {
		return answer{}, problem(NoSuchSilence, "a silence has a number, as 'GET /v1/silences' lists them")
	}
	if err := c.admin.DeleteSilence(c.Context(), id); err != nil {
		return answer{}, err
	}
	return done()
}
