package policyinsights

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/expr/value"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/policy"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

const typeDeployment arm.Type = "Microsoft.Resources/deployments"

// Actor says as whom an assignment puts resources right.
type Actor func(ctx context.Context, a *assignment.Assignment) (identity.Principal, error)

// actor is the client that an assignment acts with. An assignment without an identity
// deploys and changes nothing: who may assign policies could do anything otherwise.
func (cfg Config) actor(ctx context.Context, c provider.Client, a *assignment.Assignment) (provider.Client, error) {
	if a.Identity == "" {
		return c, arm.Errorf(400, "PolicyAssignmentWithoutIdentity",
			"The policy assignment '%s' has no managed identity to act as. Give it one (identity.type SystemAssigned and a location), and that identity the roles that the policy names.", a.ID)
	}
	if cfg.Actor == nil {
		return c.As(identity.System), nil
	}
	who, err := cfg.Actor(ctx, a)
	return c.As(who), err
}

// remedy is a deployment that puts one resource right.
type remedy struct {
	id   arm.ID
	body json.RawMessage
}

// remedy is what a deployIfNotExists policy deploys for a resource now; nil if the
// resource complies, or is gone.
func (cfg Config) remedy(ctx context.Context, s store.Store, now time.Time, u *assignment.Unit, resource, seed string) (r *remedy, err error) {
	err = s.View(ctx, func(tx store.ReadTx) error {
		doc, err := tx.Get(strings.ToLower(resource))
		if err != nil {
			return err
		}
		r, err = remedyFor(&assignment.World{Tx: tx, Now: now, Facts: cfg.Facts}, u, doc, seed)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return r, err
}

func remedyFor(world *assignment.World, u *assignment.Unit, doc *store.Document, seed string) (*remedy, error) {
	s, err := world.Subject(doc, "")
	if err != nil {
		return nil, err
	}
	v, _, err := u.Evaluate(s)
	if err != nil || v.State != policy.Hit || v.Family != policy.DeployIfNotExists {
		return nil, err
	}
	d, err := u.Deployment(s)
	if err != nil {
		return nil, arm.Errorf(400, "InvalidPolicyDeployment", "What the policy deploys cannot be evaluated: %v.", err)
	}
	scope, err := deploymentScope(s.ID, d)
	if err != nil {
		return nil, err
	}
	body := value.FromFields([]value.Field{{Key: "properties", Value: d.Properties}})
	if d.AtSubscription {
		body = body.With("location", value.FromString(d.Location))
	}
	return &remedy{scope.Resource(typeDeployment, deploymentName(u, doc.ID, seed)), json.RawMessage(body.JSON())}, nil
}

func deploymentScope(id arm.ID, d policy.Deployment) (arm.ID, error) {
	group := d.ResourceGroup
	if group == "" {
		group = id.ResourceGroup()
	}
	switch {
	case d.AtSubscription:
		return arm.SubscriptionID(id.Subscription()), nil
	case group == "":
		return arm.ID{}, arm.Errorf(400, "InvalidPolicyDeployment", "'%s' is in no resource group. The policy must say deploymentScope: subscription, or name a group.", id)
	}
	return arm.ResourceGroupID(id.Subscription(), group), nil
}

// deploymentName is Azure's kind of name, the same for the same resource and policy:
// while one deployment runs there is no second.
func deploymentName(u *assignment.Unit, resource, seed string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(strings.Join([]string{u.Assignment.ID.String(), u.ReferenceID, resource, seed}, "\x00"))))
	return fmt.Sprintf("PolicyDeployment_%d", binary.BigEndian.Uint64(sum[:]))
}

// isActive reports whether a deployment was refused because one of its name runs.
func isActive(err error) bool {
	var e *arm.Error
	return errors.As(err, &e) && (e.Code == "DeploymentActive" || e.Code == arm.CodeAnotherOperation)
}

func isDeploy(effect string) bool { return policy.EffectNamed(effect) == policy.DeployIfNotExists }

// deployNext looks at the deployments that run and starts the next ones. It reports
// how many run; a change of what is recorded comes before anything is asked for.
func (cfg Config) deployNext(ctx context.Context, w *provider.Work, client provider.Client, r remediation, u *assignment.Unit, t *task) (runs int, err error) {
	for i := range t.Targets {
		if d := &t.Targets[i]; d.Status == running && lookAt(ctx, w, d) {
			runs++
		}
	}
	bodies := map[*deployment]*remedy{}
	for i := range t.Targets {
		d := &t.Targets[i]
		if d.Status != waiting || runs >= r.Properties.ParallelDeployments {
			continue
		}
		if cfg.prepare(ctx, w, u, d, bodies) {
			runs++
		}
	}
	if len(bodies) > 0 {
		if err := w.Update(ctx, func(d *provider.Draft) { t.show(d, w.Now()) }); err != nil {
			return 0, err
		}
	}
	for i := range t.Targets {
		if d := &t.Targets[i]; d.Status == running && !exists(ctx, w, d.Deployment) && !cfg.deploy(ctx, w, client, u, d, bodies[d]) {
			runs--
		}
	}
	return runs, nil
}

func exists(ctx context.Context, w *provider.Work, id string) bool {
	_, err := store.Get(ctx, w.Store, id)
	return !errors.Is(err, store.ErrNotFound)
}

// lookAt notes how a deployment ended, or reports that it still runs.
func lookAt(ctx context.Context, w *provider.Work, d *deployment) bool {
	doc, err := store.Get(ctx, w.Store, d.Deployment)
	if err != nil || !doc.State().Terminal() {
		return true // not there: it was noted, and never asked for
	}
	d.Updated, d.Status = w.Now(), succeeded
	if doc.State() != arm.StateSucceeded {
		d.Status = failed
		raw, _ := arm.Get(doc.Body, "properties.error")
		var e arm.Error
		if json.Unmarshal(raw, &e) != nil || e.Code == "" {
			e = arm.Error{Code: "DeploymentFailed", Message: "The deployment is " + string(doc.State()) + "."}
		}
		d.Error = &failure{e.Code, e.Error()}
	}
	return false
}

// prepare notes the deployment of one resource; false if there is nothing to do, or
// nothing can be done.
func (cfg Config) prepare(ctx context.Context, w *provider.Work, u *assignment.Unit, d *deployment, bodies map[*deployment]*remedy) bool {
	rem, err := cfg.remedy(ctx, w.Store, w.Now(), u, d.Resource, w.ID.String())
	d.Updated = w.Now()
	switch {
	case err != nil:
		d.fail(err)
		return false
	case rem == nil:
		d.Status = succeeded
		return false
	}
	d.Status, d.Deployment = running, rem.id.String()
	bodies[d] = rem
	return true
}

// deploy asks for a deployment that has been noted.
func (cfg Config) deploy(ctx context.Context, w *provider.Work, client provider.Client, u *assignment.Unit, d *deployment, rem *remedy) bool {
	if rem == nil { // noted before a restart
		var err error
		if rem, err = cfg.remedy(ctx, w.Store, w.Now(), u, d.Resource, w.ID.String()); err != nil || rem == nil {
			if d.Status = succeeded; err != nil {
				d.fail(err)
			}
			return false
		}
	}
	if _, err := client.Put(ctx, rem.id, rem.body); err != nil && !isActive(err) {
		if ctx.Err() == nil {
			d.fail(err)
		}
		return false
	}
	return true
}

func (d *deployment) fail(err error) {
	e := arm.AsError(err)
	d.Status, d.Error = failed, &failure{e.Code, e.Message}
	if len(e.Details) > 0 {
		d.Error.Message = e.Error()
	}
}

func (t *task) failAll(now time.Time, err error) {
	for i := range t.Targets {
		if d := &t.Targets[i]; d.Status == waiting || d.Status == running {
			d.Updated = now
			d.fail(err)
		}
	}
}

// cancelDeployments asks for the end of what runs.
func (t *task) cancelDeployments(ctx context.Context, w *provider.Work) {
	for i := range t.Targets {
		d := &t.Targets[i]
		if d.Status != running {
			continue
		}
		d.Status, d.Updated = canceled, w.Now()
		if id, err := arm.ParseID(d.Deployment); err == nil {
			_, _ = w.Client.Post(ctx, id, "cancel", nil) // it may have ended by now
		}
	}
}
