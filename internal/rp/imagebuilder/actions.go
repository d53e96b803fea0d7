package imagebuilder

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/oklog/ulid/v2"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

const (
	actionRun     = "run"
	actionCancel  = "cancel"
	actionReadLog = "readLog"
)

// runRequest is the body of POST …/run. Azure sends none.
type runRequest struct {
	Secrets map[string]string // values of the secrets that the template names
	NoCache bool
}

// secrets are the values that runs were given, in memory only: by template key.
// A second run of a template takes the place of the first.
type secrets struct {
	mu    sync.Mutex
	byKey map[string]given
}

type given struct {
	run    string
	values map[string]string
}

func (s *secrets) put(key, run string, values map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey == nil {
		s.byKey = map[string]given{}
	}
	s.byKey[key] = given{run, maps.Clone(values)}
}

func (s *secrets) get(key, run string) (map[string]string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.byKey[key]
	return g.values, ok && g.run == run
}

func (s *secrets) forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byKey, key)
}

// applyRun records that a run is wanted, by whom, and that it is Queued.
func (s *service) applyRun(ctx context.Context, w *provider.Write) (any, error) {
	if st := w.Doc.State(); st != arm.StateSucceeded {
		return nil, arm.Conflict(arm.CodeConflict, w.ID.String(), "The image template is in the state '%s'; only one that has Succeeded can be run.", st)
	}
	var request runRequest
	if len(w.Request) > 0 {
		if err := json.Unmarshal(w.Request, &request); err != nil {
			return nil, arm.BadRequest(arm.CodeInvalidRequestContent, "body", "The body of run is {\"secrets\":{NAME:VALUE}} or nothing: its shape is wrong.")
		}
	}
	recipe, errs := readRecipe(w.Doc.Body)
	if errs = append(errs, checkSecrets(slices.Sorted(maps.Keys(recipeSecrets(recipe))), request.Secrets)...); len(errs) > 0 {
		return nil, arm.Join(errs)
	}
	if _, err := s.findSource(ctx, w.Client, recipe.Source, w.Doc.Location); err != nil {
		return nil, err
	}
	r := &run{ID: strings.ToLower(ulid.Make().String()), Principal: w.Principal, Start: w.Now, NoCache: request.NoCache, Secrets: len(request.Secrets) > 0}
	if r.Secrets {
		s.secrets.put(w.Doc.Key, r.ID, request.Secrets)
	}
	return nil, queue(w, r)
}

func queue(w *provider.Write, r *run) (err error) {
	if w.Doc.Private, err = json.Marshal(state{Run: r}); err != nil {
		return err
	}
	w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.lastRunStatus", runStatus{StartTime: r.Start, RunState: runRunning, RunSubState: subQueued, RunID: r.ID})
	return err
}

// checkSecrets: those that the template names, and no others; values are never repeated.
func checkSecrets(want []string, got map[string]string) (errs []*arm.Error) {
	for _, name := range want {
		if got[name] == "" {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "secrets."+name, "The template needs the secret '%s', and the request has no value for it.", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if !slices.Contains(want, name) {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "secrets", "The template names no secret '%.80s'.", name))
		}
	}
	return errs
}

// applyCancel asks the run to end; Reconcile does it.
func applyCancel(_ context.Context, w *provider.Write) (any, error) {
	st, err := readState(w.Doc)
	if err != nil {
		return nil, err
	}
	if !st.active() {
		return nil, arm.Conflict(arm.CodeConflict, w.ID.String(), "The image template is not being run, so there is nothing to cancel.")
	}
	st.Run.Cancel = true
	if w.Doc.Private, err = json.Marshal(st); err != nil {
		return nil, err
	}
	w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.lastRunStatus.runState", runCanceling)
	return nil, err
}
