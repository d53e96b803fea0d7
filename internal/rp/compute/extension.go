package compute

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

type extensionBody struct {
	Properties struct {
		Publisher                     string
		Type                          string
		TypeHandlerVersion            string
		ForceUpdateTag                string
		Settings                      json.RawMessage
		ProtectedSettings             json.RawMessage
		ProtectedSettingsFromKeyVault json.RawMessage
		SuppressFailures              bool
		ProvisionAfterExtensions      []string
	}
}

// extensionState is an extension's Private.
type extensionState struct {
	// Sealed are the protected settings, encrypted; they are needed again when the machine is
	// reimaged, and go with the extension.
	Sealed []byte `json:"sealed,omitempty"`
	// Wanted counts the configurations, Applied is the last one that ran with success: an
	// extension runs once for each change.
	Wanted  int `json:"wanted"`
	Applied int `json:"applied"`
	// Instance is the guest's (vmState.Instance) in which it ran.
	Instance int         `json:"instance"`
	Job      jobProgress `json:"job,omitzero"`
	// Last is what the guest last said, for the instance view.
	Last *outcome `json:"last,omitempty"`
}

// outcome is how a job ended, for people.
type outcome struct {
	OK      bool      `json:"ok"`
	Message string    `json:"message"`
	Time    time.Time `json:"time"`
}

const actionReapply = "reapply"

func readExtension(d *store.Document) (b extensionBody, p extensionState) {
	_ = json.Unmarshal(d.Body, &b) // Validate reports what cannot be read
	_ = json.Unmarshal(d.Private, &p)
	return b, p
}

// loadedExtension keeps the protected settings in plain for Validate.
type loadedExtension struct{ protected json.RawMessage }

// defaultExtension takes the protected settings out of the body, and finds out whether
// anything changed that the guest has to hear of.
func (s *service) defaultExtension(w *provider.Write) error {
	b, p := readExtension(w.Doc)
	w.Doc.Body = arm.Remove(w.Doc.Body, atProtected)
	protected, given := b.Properties.ProtectedSettings, len(b.Properties.ProtectedSettings) > 0
	if string(protected) == "null" || string(protected) == "{}" {
		protected = nil
	}
	before, err := s.open(p.Sealed)
	if err != nil {
		return err
	}
	if w.Patch && !given {
		protected = before
	}
	w.Loaded = loadedExtension{protected}
	if !bytes.Equal(protected, before) || len(protected) > 0 && p.Sealed == nil {
		if p.Sealed, err = s.seal(protected); err != nil {
			return err
		}
	}
	if w.Create() || w.Old.State() != arm.StateSucceeded || extensionChanged(w, protected, before) {
		p.Wanted++
		p.Job = jobProgress{}
	}
	edits := []edit{{"properties.autoUpgradeMinorVersion", true, true}}
	if h, ok := handlerOf(b.Properties.Publisher, b.Properties.Type); ok {
		edits = append(edits, edit{"properties.typeHandlerVersion", h.versions[len(h.versions)-1], true})
	}
	if err := apply(w.Doc, edits...); err != nil {
		return err
	}
	return setPrivate(w.Doc, p)
}

func (s *service) seal(plain json.RawMessage) ([]byte, error) {
	if len(plain) == 0 {
		return nil, nil
	}
	if s.Secrets == nil {
		return nil, arm.BadRequest(arm.CodeInvalidParameter, atProtected, "This control plane has no key to protect settings with.")
	}
	return s.Secrets.Seal(plain)
}

func (s *service) open(sealed []byte) (json.RawMessage, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	if s.Secrets == nil {
		return nil, errors.New("there is no key to open protected settings with")
	}
	return s.Secrets.Open(sealed)
}

// extensionChanged: whether the configuration is another one. Tags and upgrade flags are none.
func extensionChanged(w *provider.Write, protected, before json.RawMessage) bool {
	if !bytes.Equal(protected, before) && !sameDocument(protected, before) {
		return true
	}
	for _, path := range []string{"properties.publisher", "properties.type", "properties.forceUpdateTag", atSettings} {
		was, _ := arm.Get(w.Old.Body, path)
		is, _ := arm.Get(w.Doc.Body, path)
		if !sameDocument(was, is) {
			return true
		}
	}
	return false
}

// sameDocument compares JSON by value; unlike sameJSON with regard to case: a command in another
// case is another command.
func sameDocument(a, b json.RawMessage) bool {
	var x, y any
	_ = json.Unmarshal(a, &x) // what is missing is null
	_ = json.Unmarshal(b, &y)
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}

func (s *service) validateExtension(w *provider.Write) (errs []*arm.Error) {
	var b extensionBody
	if err := json.Unmarshal(w.Doc.Body, &b); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The extension cannot be read: %v.", hideValues(err))}
	}
	if k := b.Properties.ProtectedSettingsFromKeyVault; len(k) > 0 && string(k) != "null" {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "properties.protectedSettingsFromKeyVault", "There is no key vault here; use protectedSettings."))
	}
	h, ok := handlerOf(b.Properties.Publisher, b.Properties.Type)
	if !ok {
		return append(errs, arm.Errorf(404, "ArtifactNotFound", "The VM extension with publisher '%s' and type '%s' could not be found. Those that run here: %s.",
			b.Properties.Publisher, b.Properties.Type, handlerNames()).At("properties.type"))
	}
	if w.Old != nil {
		for _, path := range []string{"properties.publisher", "properties.type"} {
			errs = append(errs, unchanged(w, path)...)
		}
	}
	l, _ := w.Loaded.(loadedExtension)
	_, wrong := h.compose(b.Properties.Settings, l.protected)
	return append(errs, wrong...)
}

// commitExtension refuses a second extension of a handler, and what cannot run.
func (s *service) commitExtension(tx store.Tx, w *provider.Write) error {
	b, p := readExtension(w.Doc)
	others, err := siblings(tx, w.ID)
	if err != nil {
		return err
	}
	for _, d := range others {
		o, _ := readExtension(d)
		if d.Key != w.Doc.Key && strings.EqualFold(o.Properties.Publisher, b.Properties.Publisher) && strings.EqualFold(o.Properties.Type, b.Properties.Type) {
			return arm.BadRequest("BadRequest", w.ID.String(), "Multiple VMExtensions per handler not supported for OS type 'Linux'. VMExtension '%s' with handler '%s.%s' already added or specified in input.",
				d.ARMID().Name(), b.Properties.Publisher, b.Properties.Type)
		}
	}
	if p.Wanted == p.Applied {
		return nil
	}
	return wantsToRun(tx, w, "extensions")
}

// siblings are the extensions of the same machine.
func siblings(tx store.ReadTx, id arm.ID) ([]*store.Document, error) {
	return tx.List(store.Query{Type: TypeExtension, Prefix: id.Parent().Key() + "/extensions/"})
}

// reapplyExtension is called when a machine has been reimaged: the guest has lost what
// the extension did.
func reapplyExtension(_ context.Context, w *provider.Write) (any, error) {
	if w.Principal.Kind != identity.System.Kind {
		return nil, arm.Errorf(403, arm.CodeAuthorizationFailed, "Only the control plane itself may do this.").At(w.ID.String())
	}
	var in struct{ Instance int }
	if err := json.Unmarshal(w.Request, &in); err != nil {
		return nil, arm.BadRequest(arm.CodeInvalidRequestContent, "instance", "The request cannot be read.")
	}
	_, p := readExtension(w.Doc)
	if p.Instance >= in.Instance || len(w.Doc.Operations) > 0 || p.Applied != p.Wanted {
		return nil, nil // it runs, or will run, in the new guest
	}
	p.Applied, p.Job, p.Last = p.Wanted-1, jobProgress{}, nil
	if err := setPrivate(w.Doc, p); err != nil {
		return nil, err
	}
	return nil, apply(w.Doc, edit{"properties.provisioningState", arm.StateUpdating, false})
}

// viewExtension adds the instance view when asked.
func viewExtension(_ context.Context, v *provider.View) (json.RawMessage, error) {
	for _, e := range v.Expand {
		if e == "instanceview" {
			return arm.Set(v.Doc.Body, "properties.instanceView", extensionView(v.Doc))
		}
	}
	return v.Doc.Body, nil
}

type extensionInstance struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Version  string   `json:"typeHandlerVersion"`
	Statuses []status `json:"statuses"`
}

func extensionView(d *store.Document) extensionInstance {
	b, p := readExtension(d)
	st := status{Code: "ProvisioningState/transitioning", Level: "Info", DisplayStatus: "transitioning", Message: "The script runs, or waits for the machine."}
	if l := p.Last; l != nil && d.State().Terminal() {
		st = status{Code: "ProvisioningState/succeeded", Level: "Info", DisplayStatus: "Provisioning succeeded", Message: l.Message, Time: &l.Time}
		if !l.OK {
			st.Code, st.Level, st.DisplayStatus = "ProvisioningState/failed/1", "Error", "Provisioning failed"
		}
	}
	return extensionInstance{d.ARMID().Name(), b.Properties.Publisher + "." + b.Properties.Type, b.Properties.TypeHandlerVersion, []status{st}}
}

// folder is where the handler works in the guest, a new one for each configuration, as Azure's do.
func (h handler) folder(wanted int) string { return fmt.Sprintf("%s/download/%d", h.dir, wanted-1) }
