package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/operation"
	"hallmark.dev/hallmark/internal/store"
)

// attempts is how often a write is decided anew when somebody else wrote in between.
const attempts = 8

// retry authorises and runs one attempt of a write until it does not conflict.
func (c *call) retry(ctx context.Context, permission string, once func() (*Response, error)) (*Response, error) {
	for range attempts {
		if err := c.mayWrite(ctx, permission); err != nil {
			return nil, err
		}
		resp, err := once()
		if !errors.Is(err, store.ErrConflict) {
			return resp, err
		}
	}
	return nil, arm.Conflict(arm.CodeConflict, c.path.ID.String(), "The resource is being changed by others at the same time. Try again.")
}

// mayWrite authorises, and remembers at which revision of the rights: whatever is
// asked of the Authorizer until the commit is decided by those, or by later ones.
func (c *call) mayWrite(ctx context.Context, permission string) (err error) {
	c.tried = permission
	if r, ok := c.p.cfg.Authorizer.(Rechecker); ok && c.Principal != identity.System {
		if c.rights, err = r.Revision(ctx); err != nil {
			return err
		}
	}
	if c.retag {
		return nil // authorised as what it is: a change of tags
	}
	return c.authorize(ctx, permission, c.asked)
}

// stillAllowed fails with store.ErrConflict, inside the transaction of a write, when
// rights have changed since mayWrite: a role that was taken away meanwhile counts.
func (c *call) stillAllowed(tx store.ReadTx) error {
	r, ok := c.p.cfg.Authorizer.(Rechecker)
	if !ok || c.Principal == identity.System {
		return nil
	}
	same, err := r.Unchanged(tx, c.rights)
	if err == nil && !same {
		err = store.ErrConflict
	}
	return err
}

// write serves PUT and PATCH.
func (c *call) write(ctx context.Context, t *ResourceType) (*Response, error) {
	permission := t.permission("write")
	if err := c.mayWrite(ctx, permission); err != nil {
		return nil, err // before the body, which is nobody's business else
	}
	request, err := c.decodeObject(t)
	if err != nil {
		return nil, err
	}
	return c.retry(ctx, permission, func() (*Response, error) { return c.writeOnce(ctx, t, request) })
}

func (c *call) writeOnce(ctx context.Context, t *ResourceType, request json.RawMessage) (*Response, error) {
	w, err := c.prepare(ctx, t, "write", request)
	if err != nil {
		return nil, err
	}
	var errs []*arm.Error
	if w.Doc, errs, err = c.draft(t, w.ID, w.Old, request); err != nil {
		return nil, err
	}
	if err := c.decide(ctx, w, errs); err != nil {
		return nil, err
	}
	op := c.newOperation(w, t.Reconcile != nil && !t.SyncWrites)
	state := arm.StateSucceeded
	if op != nil {
		if state = arm.StateUpdating; w.Create() {
			state = arm.StateCreating
		}
	}
	if err := c.finishBody(w, state); err != nil {
		return nil, err
	}
	if err := c.commit(ctx, w, op, nil); err != nil {
		return nil, err
	}
	return c.written(ctx, w, op)
}

func (c *call) finishBody(w *Write, state arm.ProvisioningState) (err error) {
	if !w.Type.NoState {
		if w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.provisioningState", state); err != nil {
			return err
		}
	}
	return arrange(w.Type, w.Doc)
}

// prepare looks at what is there: conditions, whether it is busy, whether what the
// resource hangs on exists.
func (c *call) prepare(ctx context.Context, t *ResourceType, action string, request json.RawMessage) (*Write, error) {
	w := &Write{ID: c.path.ID, Type: t, Action: action, APIVersion: c.apiVersion, Principal: c.Principal, Now: c.p.now(),
		Client: c.client(), Allowed: c.authorize, Request: request, Patch: c.Method == "PATCH", Query: c.query}
	if c.retag {
		w.Client = NewClient(c.p, identity.System) // who may write tags need not be allowed to read what the resource refers to
	}
	err := c.p.cfg.Store.View(ctx, func(tx store.ReadTx) (err error) {
		if w.Old, err = tx.Get(w.ID.Key()); errors.Is(err, store.ErrNotFound) {
			w.Old, err = nil, nil
		}
		if err != nil {
			return err
		}
		if err := c.p.checkParents(tx, w); err != nil {
			return err
		}
		if err := c.guard(tx, c.permission(w), w.ID); err != nil {
			return err
		}
		return c.p.spell(tx, w)
	})
	if err != nil {
		return nil, err
	}
	if w.Old != nil {
		w.ID = w.Old.ARMID() // as first written
	}
	if err := c.conditions(w); err != nil || w.Old != nil || action != "write" {
		return w, err
	}
	return w, t.checkName(w.ID)
}

// checkParents: subscription, group and parent resource must exist and stay.
func (p *Pipeline) checkParents(tx store.ReadTx, w *Write) error {
	if err := p.checkScopes(tx, w.ID.Parent()); err != nil {
		return err
	}
	if w.Action == "delete" {
		return nil
	}
	// What is being deleted calls actions to let go of what it has, in its group or below itself.
	lettingGo := w.Action != "write" && w.Principal == identity.System
	for parent := w.ID.Parent(); !parent.IsRoot(); parent = parent.Parent() {
		if p.reg.types[parent.Type().Key()] == nil {
			continue
		}
		d, err := tx.Get(parent.Key())
		if errors.Is(err, store.ErrNotFound) {
			return arm.Errorf(404, arm.CodeParentResourceNotFound, "Failed to perform '%s' on '%s', because the parent resource '%s' was not found.",
				w.Action, w.ID, parent).At(parent.String())
		}
		if err != nil {
			return err
		}
		if d.Deleting && !lettingGo && !(w.Old != nil && w.Old.Deleting) {
			return deleting(parent)
		}
	}
	return nil
}

// spell writes the id of a new resource with its parents' names as they were first
// written, so that one group does not appear under two spellings.
func (p *Pipeline) spell(tx store.ReadTx, w *Write) error {
	w.ID = p.reg.canonical(w.ID)
	for parent := w.ID.Parent(); !parent.IsRoot(); parent = parent.Parent() {
		d, err := tx.Get(parent.Key())
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		id, err := arm.ParseID(d.ID + w.ID.String()[len(parent.String()):])
		if err == nil {
			w.ID = id
		}
		return err
	}
	return nil
}

func deleting(id arm.ID) error {
	code := arm.CodeConflict
	if id.Kind() == arm.KindResourceGroup {
		code = "ResourceGroupBeingDeleted"
	}
	return arm.Conflict(code, id.String(), "'%s' is being deleted. Wait until it is gone and try again.", id)
}

func (c *call) conditions(w *Write) error {
	missing := w.Old == nil
	if missing && (w.Action != "write" && w.Action != "delete" || c.Method == "PATCH") {
		return c.p.notFound(w.ID)
	}
	ifMatch, ifNone := c.Header.Get("If-Match"), c.Header.Get("If-None-Match")
	switch {
	case ifMatch != "" && (missing || !matches(ifMatch, w.Old.ETag)):
		return arm.Errorf(412, arm.CodePreconditionFailed, "The resource is not at the version that If-Match names. Read it again and decide anew.").At(w.ID.String())
	case ifNone != "" && !missing && matches(ifNone, w.Old.ETag):
		return arm.Errorf(412, arm.CodePreconditionFailed, "The resource exists already, and If-None-Match asks that it does not.").At(w.ID.String())
	case missing || w.Action == "delete":
		return nil
	case w.Old.Deleting:
		return deleting(w.ID)
	}
	return c.busy(w)
}

// busy refuses a change while an operation runs.
func (c *call) busy(w *Write) error {
	allowed := w.Type.WriteWhileBusy
	if a, ok := w.Type.action(strings.TrimSuffix(w.Action, "/action"), c.Method); ok && w.Action != "write" {
		allowed = a.WhileBusy
	}
	if len(w.Old.Operations) == 0 || allowed {
		return nil
	}
	return arm.Conflict(arm.CodeAnotherOperation, w.ID.String(),
		"Another operation on '%s' is in progress: %s. Wait until it has ended and try again.", w.ID.Name(), w.Old.Operations[0])
}

// decide is load → default → validate → admit.
func (c *call) decide(ctx context.Context, w *Write, errs []*arm.Error) error {
	if slices.ContainsFunc(errs, func(e *arm.Error) bool { return e.Target == "properties" }) {
		return arm.Join(errs) // hooks may rely on an object
	}
	if err := c.identify(ctx, w); err != nil {
		return err
	}
	if w.Type.Load != nil {
		if err := w.Type.Load(ctx, w); err != nil {
			return err
		}
	}
	if w.Type.Default != nil {
		if err := w.Type.Default(w); err != nil {
			return err
		}
	}
	if err := validate(w, errs); err != nil {
		return err
	}
	return c.admit(ctx, w, errs)
}

func validate(w *Write, errs []*arm.Error) error {
	if w.Type.Validate != nil {
		errs = append(slices.Clone(errs), w.Type.Validate(w)...)
	}
	return arm.Join(errs)
}

// admit asks the Admitter; what it changes must be valid too.
func (c *call) admit(ctx context.Context, w *Write, errs []*arm.Error) error {
	if c.p.cfg.Admitter == nil {
		return nil
	}
	before := bytes.Clone(w.Doc.Body)
	if err := c.p.cfg.Admitter.Admit(ctx, w); err != nil {
		return err
	}
	if w.Action != "write" || bytes.Equal(before, w.Doc.Body) {
		return nil
	}
	if err := c.identify(ctx, w); err != nil {
		return err
	}
	errs = append(errs, readTags(w.Type, w.Doc)...)
	return validate(w, errs)
}

// running is an operation about to start.
type running struct {
	id     arm.ID
	record operation.Record
}

func (c *call) newOperation(w *Write, async bool) *running {
	if !async {
		return nil
	}
	loc := ""
	if w.Doc != nil {
		loc = w.Doc.Location
	}
	return &running{id: operation.ID(w.ID, loc, strings.ToLower(ulid.Make().String())), record: operation.Record{
		Resource: w.ID.String(), Action: w.Action, Principal: w.Principal.ObjectID, StartTime: w.Now,
		APIVersion: w.APIVersion, CorrelationID: c.CorrelationID}}
}

// commit is the one transaction: resource, operation, audit event. prior runs in
// it first.
func (c *call) commit(ctx context.Context, w *Write, op *running, prior func(store.Tx) error) error {
	keep := *w.Doc
	return c.p.cfg.Store.Update(ctx, func(tx store.Tx) error {
		*w.Doc = keep // this may run more than once
		if err := c.stillAllowed(tx); err != nil {
			return err
		}
		if err := c.p.checkParents(tx, w); err != nil {
			return err
		}
		if err := c.guard(tx, c.permission(w), w.ID); err != nil {
			return err
		}
		if prior != nil {
			if err := prior(tx); err != nil {
				return err
			}
		}
		if w.Action == "write" && w.Type.Commit != nil {
			if err := w.Type.Commit(tx, w); err != nil {
				return err
			}
		}
		if w.Action == "write" {
			if err := c.keepIdentity(tx, w); err != nil {
				return err
			}
		}
		if op != nil {
			if err := operation.Start(tx, op.id, op.record); err != nil {
				return err
			}
			w.Doc.Operations = append(slices.Clone(w.Doc.Operations), op.id.String())
		}
		if err := c.audit(tx, w, op); err != nil {
			return err
		}
		return put(tx, w)
	})
}

func put(tx store.Tx, w *Write) error {
	expect := store.Absent
	w.Doc.UpdatedAt, w.Doc.UpdatedBy = w.Now, w.Principal.ObjectID
	if w.Old != nil {
		expect = w.Old.Revision
	} else {
		w.Doc.CreatedAt, w.Doc.CreatedBy = w.Now, w.Principal.ObjectID
	}
	return tx.Put(w.Doc, expect)
}

// written is the answer to a PUT or PATCH.
func (c *call) written(ctx context.Context, w *Write, op *running) (*Response, error) {
	h := headers(w.Type, w.Doc)
	c.follow(h, w, op, false)
	body, err := c.show(ctx, w.Type, w.Doc, false)
	return &Response{Status: c.writeCode(w), Header: h, Body: body}, err
}

func (c *call) writeCode(w *Write) int {
	switch {
	case w.Create():
		return or(w.Type.Codes.Create, 201)
	case c.Method == "PATCH":
		return or(w.Type.Codes.Patch, 200)
	}
	return or(w.Type.Codes.Update, 200)
}

// follow tells the client where to poll.
func (c *call) follow(h http.Header, w *Write, op *running, location bool) {
	if op == nil {
		return
	}
	suffix := "?api-version=" + w.APIVersion
	h.Set("Azure-Asyncoperation", c.BaseURL+op.id.String()+suffix)
	if location {
		h.Set("Location", c.BaseURL+op.id.Parent().Child("operationResults", op.id.Name()).String()+suffix)
	}
	if c.p.cfg.RetryAfter > 0 {
		h.Set("Retry-After", fmt.Sprint(c.p.cfg.RetryAfter))
	}
}

func or(code, def int) int {
	if code != 0 {
		return code
	}
	return def
}
