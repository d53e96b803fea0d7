package policyinsights

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

const typeRemediation arm.Type = "Microsoft.PolicyInsights/remediations"

// Azure's limits and defaults for one remediation.
const (
	defaultResources = 500
	maxResources     = 50_000
	defaultParallel  = 10
	maxParallel      = 30
	defaultThreshold = 1.0
)

func (cfg Config) remediations() provider.ResourceType {
	return provider.ResourceType{
		Type: typeRemediation, Scopes: anywhere, APIVersions: remediationVersions, Hidden: true, NoPatch: true, WriteWhileBusy: true,
		ReadOnly:     []string{"properties.deploymentStatus", "properties.createdOn", "properties.lastUpdatedOn", "properties.statusMessage", "properties.correlationId"},
		DeleteAtOnce: true, ShowDeleted: true, ListBelow: true,
		Filters: []string{"policyAssignmentId", "policyDefinitionReferenceId"},
		Default: defaultRemediation, Validate: validateRemediation, Commit: commitRemediation,
		Reconcile: cfg.remediate, Workers: 2,
		Actions: []provider.Action{
			{Name: "cancel", WhileBusy: true, Apply: cancelRemediation},
			{Name: "listDeployments", WhileBusy: true, Apply: listDeployments},
		},
	}
}

type remediation struct {
	Properties struct {
		PolicyAssignmentID          string
		PolicyDefinitionReferenceID string
		ResourceDiscoveryMode       string
		ResourceCount               int
		ParallelDeployments         int
		FailureThreshold            struct{ Percentage *float64 }
		Filters                     struct{ Locations, ResourceIDs []string }
	}
}

// task is what a remediation still has to do, its Private part: written before
// anything is changed, so that a restart does not begin anew.
type task struct {
	Started bool
	Cancel  bool
	Targets []deployment
}

// deployment is one resource that is put right.
type deployment struct {
	Resource   string    `json:"remediatedResourceId"`
	Deployment string    `json:"deploymentId,omitempty"` // of deployIfNotExists
	Location   string    `json:"resourceLocation,omitempty"`
	Status     string    `json:"status"` // Waiting, Running, Succeeded, Failed, Canceled
	Created    time.Time `json:"createdOn"`
	Updated    time.Time `json:"lastUpdatedOn"`
	Error      *failure  `json:"error,omitempty"`
}

type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// States of a deployment.
const (
	waiting   = "Waiting"
	running   = "Running"
	succeeded = "Succeeded"
	failed    = "Failed"
	canceled  = "Canceled"
)

func defaultRemediation(w *provider.Write) error {
	if p, ok := arm.Get(w.Doc.Body, "properties"); ok && p[0] != '{' {
		return nil
	}
	defaults := []struct {
		path  string
		value any
	}{{"properties.resourceDiscoveryMode", "ExistingNonCompliant"}, {"properties.resourceCount", defaultResources},
		{"properties.parallelDeployments", defaultParallel}, {"properties.failureThreshold.percentage", defaultThreshold}, {"properties.createdOn", w.Now}, {"properties.lastUpdatedOn", w.Now},
		{"properties.deploymentStatus", map[string]int{"totalDeployments": 0, "successfulDeployments": 0, "failedDeployments": 0}}}
	for _, d := range defaults {
		if _, ok := arm.Get(w.Doc.Body, d.path); ok {
			continue
		}
		var err error
		if w.Doc.Body, err = arm.Set(w.Doc.Body, d.path, d.value); err != nil {
			return err
		}
	}
	return nil
}

func validateRemediation(w *provider.Write) (errs []*arm.Error) {
	var r remediation
	if err := json.Unmarshal(w.Doc.Body, &r); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "%v", err)}
	}
	p := r.Properties
	bad := func(path, format string, args ...any) {
		errs = append(errs, arm.BadRequest("InvalidRemediation", "properties."+path, format, args...))
	}
	if p.ResourceCount < 1 || p.ResourceCount > maxResources {
		bad("resourceCount", "resourceCount is %d; it must be 1 to %d.", p.ResourceCount, maxResources)
	}
	if p.ParallelDeployments < 1 || p.ParallelDeployments > maxParallel {
		bad("parallelDeployments", "parallelDeployments is %d; it must be 1 to %d.", p.ParallelDeployments, maxParallel)
	}
	if f := p.FailureThreshold.Percentage; f != nil && (*f < 0 || *f > 1) {
		bad("failureThreshold.percentage", "percentage is %v; it must be 0 to 1.", *f)
	}
	if !strings.EqualFold(p.ResourceDiscoveryMode, "ExistingNonCompliant") && !strings.EqualFold(p.ResourceDiscoveryMode, "ReEvaluateCompliance") {
		bad("resourceDiscoveryMode", "resourceDiscoveryMode is %q; it must be ExistingNonCompliant or ReEvaluateCompliance.", p.ResourceDiscoveryMode)
	}
	if w.Old != nil && !sameRequest(w) {
		bad("", "A remediation cannot be changed once it has been started. Create another one.")
	}
	return errs
}

// sameRequest reports whether a PUT asks for what is stored: repeating one is no
// change.
func sameRequest(w *provider.Write) bool {
	for _, path := range []string{"policyAssignmentId", "policyDefinitionReferenceId", "resourceDiscoveryMode", "resourceCount", "parallelDeployments", "filters", "failureThreshold"} {
		a, _ := arm.Get(w.Old.Body, "properties."+path)
		b, _ := arm.Get(w.Doc.Body, "properties."+path)
		if !strings.EqualFold(string(a), string(b)) {
			return false
		}
	}
	return true
}

func commitRemediation(tx store.Tx, w *provider.Write) error {
	id := arm.GetString(w.Doc.Body, "properties.policyAssignmentId")
	d, err := tx.Get(strings.ToLower(id))
	if errors.Is(err, store.ErrNotFound) {
		return arm.BadRequest("InvalidRemediationPolicyAssignment", "properties.policyAssignmentId", "The policy assignment '%s' could not be found.", id)
	}
	if err != nil || !w.Create() {
		return err
	}
	var r remediation
	if err := json.Unmarshal(w.Doc.Body, &r); err != nil {
		return err
	}
	assigned, err := arm.ParseID(arm.GetString(d.Body, "properties.policyDefinitionId"))
	if err == nil && assigned.Type().Equal(assignment.TypeInitiative) && r.Properties.PolicyDefinitionReferenceID == "" {
		return cannotCreate(w, "The policy assignment '%s' assigns a policy set definition. Remediations must specify a single policy definition reference ID within the policy set definition.", d.ID)
	}
	if strings.EqualFold(r.Properties.ResourceDiscoveryMode, "ReEvaluateCompliance") && w.ID.Scope().Kind() == arm.KindManagementGroup {
		return cannotCreate(w, "Evaluating compliance before remediation is only supported for remediations at subscription scope and below.")
	}
	return notTwice(tx, w, r)
}

func cannotCreate(w *provider.Write, format string, args ...any) error {
	return arm.BadRequest("InvalidCreateRemediationRequest", w.ID.String(), "The request to create remediation '%s' is invalid. %s", w.ID.Name(), fmt.Sprintf(format, args...))
}

// notTwice refuses a second remediation of what one is at work on.
func notTwice(tx store.Tx, w *provider.Write, r remediation) error {
	p := r.Properties
	var running []string
	err := store.Each(tx, store.Query{Type: typeRemediation}, func(d *store.Document) error {
		var other remediation
		if d.State().Terminal() || json.Unmarshal(d.Body, &other) != nil {
			return nil
		}
		scope, mine := d.ARMID().Scope(), w.ID.Scope()
		if strings.EqualFold(other.Properties.PolicyAssignmentID, p.PolicyAssignmentID) && strings.EqualFold(other.Properties.PolicyDefinitionReferenceID, p.PolicyDefinitionReferenceID) &&
			(scope.Contains(mine) || mine.Contains(scope)) {
			running = append(running, d.ARMID().Name())
		}
		return nil
	})
	if err != nil || len(running) == 0 {
		return err
	}
	return cannotCreate(w, "The following remediations: '%s' are already running for policy assignment '%s', definition reference ID '%s' on a scope conflicting with requested scope.",
		strings.Join(running, "', '"), p.PolicyAssignmentID, p.PolicyDefinitionReferenceID)
}

func readTask(d *store.Document) (t task) {
	_ = json.Unmarshal(d.Private, &t) // nothing there yet: a new task
	return t
}

func cancelRemediation(_ context.Context, w *provider.Write) (any, error) {
	t := readTask(w.Doc)
	if w.Doc.State().Terminal() {
		return nil, arm.Conflict("InvalidCancelRemediationRequest", w.ID.String(), "The remediation '%s' has ended: it is %s.", w.ID.Name(), w.Doc.State())
	}
	t.Cancel = true
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	w.Doc.Private = raw
	if w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.provisioningState", "Cancelling"); err != nil {
		return nil, err
	}
	return w.Doc.Body, nil
}

func listDeployments(_ context.Context, w *provider.Write) (any, error) {
	t := readTask(w.Doc)
	return map[string]any{"value": append([]deployment{}, t.Targets...)}, nil
}

// remediate finds the resources, writes them down, and puts one batch right at a
// time.
func (cfg Config) remediate(ctx context.Context, w *provider.Work) (time.Duration, error) {
	t := readTask(w.Doc)
	switch {
	case w.Doc.Deleting:
		return 0, w.Remove(ctx)
	case w.Doc.State().Terminal():
		return 0, nil
	case t.Cancel:
		t.cancelDeployments(ctx, w)
		return 0, w.Update(ctx, func(d *provider.Draft) { t.cancel(w.Now()); t.show(d, w.Now()); d.Cancel() })
	}
	var r remediation
	if err := json.Unmarshal(w.Doc.Body, &r); err != nil {
		return 0, fail(ctx, w, t, arm.Errorf(0, arm.CodeInvalidRequestContent, "The remediation cannot be read: %v.", err))
	}
	u, e := cfg.unit(ctx, r)
	if e != nil {
		return 0, fail(ctx, w, t, e)
	}
	if !t.Started {
		return cfg.start(ctx, w, r, u)
	}
	return cfg.proceed(ctx, w, r, u, t)
}

func fail(ctx context.Context, w *provider.Work, t task, e *arm.Error) error {
	return w.Update(ctx, func(d *provider.Draft) {
		t.cancel(w.Now())
		t.show(d, w.Now())
		d.Set("properties.statusMessage", e.Message)
		d.Fail(e)
	})
}

// unit is the policy that is remediated.
func (cfg Config) unit(ctx context.Context, r remediation) (*assignment.Unit, *arm.Error) {
	set, err := cfg.Index.Current(ctx)
	if err != nil {
		return nil, arm.AsError(err)
	}
	a := set.Assignment(r.Properties.PolicyAssignmentID)
	if a == nil || a.Problem != nil {
		return nil, arm.Errorf(0, "InvalidRemediationPolicyAssignment", "The policy assignment '%s' is gone or cannot be evaluated.", r.Properties.PolicyAssignmentID)
	}
	for _, u := range a.Units {
		if a.Initiative && !strings.EqualFold(u.ReferenceID, r.Properties.PolicyDefinitionReferenceID) {
			continue
		}
		if e := u.Effect("", ""); !isModify(e) && !isDeploy(e) || u.Problem != nil {
			return nil, arm.Errorf(0, "RemediationNotPossible", "The effect of the policy is '%s'. Only modify and deployIfNotExists can be remediated.", e)
		}
		return u, nil
	}
	return nil, arm.Errorf(0, "InvalidRemediationPolicyDefinitionReferenceId",
		"The policy assignment '%s' has no policy with the reference id '%s'.", a.ID, r.Properties.PolicyDefinitionReferenceID)
}

// start writes down what is to be done.
func (cfg Config) start(ctx context.Context, w *provider.Work, r remediation, u *assignment.Unit) (time.Duration, error) {
	reader, err := cfg.Engine.Read(ctx)
	if err != nil {
		return 0, err
	}
	if !reader.Current {
		return time.Second, nil // what does not comply is not known yet
	}
	t := task{Started: true}
	err = reader.Rows(ctx, w.ID.Scope(), func(row compliance.Row) bool {
		if row.State == compliance.NonCompliant && row.Unit.Assignment.ID.Equal(u.Assignment.ID) && row.Unit.Index == u.Index && r.selects(row) {
			t.Targets = append(t.Targets, deployment{Resource: row.Resource, Location: row.Location, Status: waiting, Created: w.Now(), Updated: w.Now()})
		}
		return len(t.Targets) < r.Properties.ResourceCount
	})
	if err != nil {
		return 0, err
	}
	return 0, w.Update(ctx, func(d *provider.Draft) { t.show(d, w.Now()); d.Set("properties.provisioningState", "Running") })
}

func (r remediation) selects(row compliance.Row) bool {
	f := r.Properties.Filters
	location := func(l string) bool { return arm.NormalLocation(l) == row.Location }
	same := func(id string) bool { return strings.EqualFold(id, row.Resource) }
	return (len(f.Locations) == 0 || slices.ContainsFunc(f.Locations, location)) && (len(f.ResourceIDs) == 0 || slices.ContainsFunc(f.ResourceIDs, same))
}

// proceed puts the next resources right, and ends the task when none is left or too
// many have failed.
func (cfg Config) proceed(ctx context.Context, w *provider.Work, r remediation, u *assignment.Unit, t task) (time.Duration, error) {
	before, err := json.Marshal(t)
	if err != nil {
		return 0, err
	}
	runs, err := cfg.next(ctx, w, r, u, &t)
	if err != nil {
		return 0, err
	}
	after, err := json.Marshal(t)
	if err != nil {
		return 0, err
	}
	if runs > 0 && bytes.Equal(before, after) {
		return deploymentPoll, nil // writing would have it looked at again at once
	}
	good, bad, left := t.counts()
	limit := defaultThreshold
	if p := r.Properties.FailureThreshold.Percentage; p != nil {
		limit = *p
	}
	tooMany := bad > 0 && float64(bad) > limit*float64(len(t.Targets))
	again := time.Duration(0)
	if runs > 0 {
		if tooMany {
			t.cancel(w.Now())
		}
		again, tooMany, left = deploymentPoll, false, runs
	}
	return again, w.Update(ctx, func(d *provider.Draft) {
		switch {
		case tooMany || left == 0 && bad > 0 && good == 0:
			t.cancel(w.Now())
			t.show(d, w.Now())
			d.Fail(arm.Errorf(0, "RemediationFailed", "%d of %d resources could not be remediated. POST listDeployments names them with the reasons.", bad, len(t.Targets)))
		case left == 0:
			t.show(d, w.Now())
			d.Succeed()
		default:
			t.show(d, w.Now())
		}
	})
}

// deploymentPoll is how often running deployments are looked at.
const deploymentPoll = 200 * time.Millisecond

// next puts the next resources right, as the assignment's identity. It reports how many
// are being deployed for, or are changed by others just now.
func (cfg Config) next(ctx context.Context, w *provider.Work, r remediation, u *assignment.Unit, t *task) (runs int, err error) {
	client, err := cfg.actor(ctx, w.Client, u.Assignment)
	var refused *arm.Error
	if errors.As(err, &refused) && refused.Status < http.StatusInternalServerError {
		t.failAll(w.Now(), err)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if isDeploy(u.Effect("", "")) {
		return cfg.deployNext(ctx, w, client, r, u, t)
	}
	return cfg.modifyNext(ctx, w, client, r, u, t), nil
}

func (t *task) counts() (good, bad, left int) {
	for _, d := range t.Targets {
		switch d.Status {
		case succeeded:
			good++
		case failed:
			bad++
		case waiting:
			left++
		}
	}
	return good, bad, left
}

// cancel gives up what has not begun.
func (t *task) cancel(now time.Time) {
	for i := range t.Targets {
		if t.Targets[i].Status == waiting {
			t.Targets[i].Status, t.Targets[i].Updated = canceled, now
		}
	}
}

// show writes the task and what clients see of it.
func (t *task) show(d *provider.Draft, now time.Time) {
	good, bad, _ := t.counts()
	d.SetPrivate(t)
	d.Set("properties.lastUpdatedOn", now)
	d.Set("properties.deploymentStatus", map[string]int{"totalDeployments": len(t.Targets), "successfulDeployments": good, "failedDeployments": bad})
	d.Set("properties.statusMessage", fmt.Sprintf("%d of %d resources are done.", good+bad, len(t.Targets)))
}
