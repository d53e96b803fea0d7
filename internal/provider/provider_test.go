package provider_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/access"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rbac"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
	"hallmark.dev/hallmark/internal/store/sqlite"
)

const version = "?api-version=2024-01-01"

func wheelID(name string) arm.ID { return providertest.Group().Resource("Hallmark.Toy/wheels", name) }

func TestScenarios(t *testing.T) {
	stores := map[string]func(t *testing.T) store.Store{
		"mem": func(*testing.T) store.Store { return mem.New() },
		"sqlite": func(t *testing.T) store.Store {
			s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "s.db"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return s
		},
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			providertest.Scenarios(t, "testdata/*.txtar", func(t *testing.T) *providertest.Server {
				return providertest.Start(t, providertest.WithStore(open(t)), providertest.With(toy{}.provider()))
			})
		})
	}
}

func state(t *testing.T, s *providertest.Server, id arm.ID) string {
	t.Helper()
	raw, err := s.Client.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return arm.GetString(raw, "properties.provisioningState")
}

func expect(t *testing.T, s *providertest.Server, method, target string, body any, status int, code string) http.Header {
	t.Helper()
	got, h, answer := s.Do(t, method, target, body)
	var env struct{ Error arm.Error }
	_ = json.Unmarshal(answer, &env) // not every answer is one
	if got != status || env.Error.Code != code || code != "" && env.Error.Message == "" {
		t.Errorf("%s %s: %d %s, want %d %s", method, clip(target), got, clip(string(answer)), status, code)
	}
	return h
}

func clip(s string) string { return s[:min(len(s), 300)] }

func TestBusyResources(t *testing.T) {
	hold := make(chan struct{})
	s := providertest.Start(t, providertest.With(toy{hold: hold}.provider()))
	url := wheelID("w").String()
	body := `{"location":"local"}`
	created := expect(t, s, "PUT", url+version, body, 201, "")
	expect(t, s, "PUT", url+version, body, 409, arm.CodeAnotherOperation)
	expect(t, s, "PATCH", url+version, body, 409, arm.CodeAnotherOperation)
	expect(t, s, "POST", url+"/spin"+version, nil, 409, arm.CodeAnotherOperation)
	expect(t, s, "POST", url+"/brake"+version, nil, 200, "")
	expect(t, s, "GET", url+"/weight"+version, nil, 200, "")
	// A delete is let through, and ends what was running.
	expect(t, s, "DELETE", url+version, nil, 202, "")
	s.Settle(t)
	_, _, answer := s.Do(t, "GET", created.Get("Azure-AsyncOperation"), nil)
	if got := arm.GetString(answer, "status"); got != "Canceled" {
		t.Errorf("the create is %s", answer)
	}
	expect(t, s, "GET", url+version, nil, 404, arm.CodeResourceNotFound)
}

func TestDeletingTwiceIsOneOperation(t *testing.T) {
	s := providertest.Start(t, providertest.With(toy{}.provider()), providertest.WithoutControllers())
	url := wheelID("w").String() + version
	expect(t, s, "PUT", url, `{"location":"local"}`, 201, "")
	first := expect(t, s, "DELETE", url, nil, 202, "")
	second := expect(t, s, "DELETE", url, nil, 202, "")
	if a, b := first.Get("Azure-AsyncOperation"), second.Get("Azure-AsyncOperation"); a == "" || a != b {
		t.Errorf("operations %q and %q", a, b)
	}
	expect(t, s, "PUT", url, `{"location":"local"}`, 409, arm.CodeConflict)
	if got := state(t, s, wheelID("w")); got != "Deleting" {
		t.Errorf("state %s", got)
	}
	group := providertest.Group().String() + version
	expect(t, s, "DELETE", group, nil, 202, "")
	expect(t, s, "PUT", wheelID("v").String()+version, `{"location":"local"}`, 409, "ResourceGroupBeingDeleted")
}

func TestAFailedOperationSaysWhy(t *testing.T) {
	s := providertest.Start(t, providertest.With(toy{spin: func(context.Context, string) error { return errors.New("rust") }}.provider()))
	url := wheelID("w").String()
	expect(t, s, "PUT", url+version, `{"location":"local"}`, 201, "")
	s.Settle(t)
	h := expect(t, s, "POST", url+"/spin"+version, nil, 202, "")
	s.Settle(t)
	_, _, answer := s.Do(t, "GET", h.Get("Azure-AsyncOperation"), nil)
	if arm.GetString(answer, "status") != "Failed" || arm.GetString(answer, "error.code") != "SpinFailed" || !strings.Contains(arm.GetString(answer, "error.message"), "rust") {
		t.Errorf("operation: %s", answer)
	}
	expect(t, s, "GET", h.Get("Location"), nil, 409, "SpinFailed")
	if got := state(t, s, wheelID("w")); got != "Failed" {
		t.Errorf("state %s", got)
	}
}

func TestHostileInput(t *testing.T) {
	s := providertest.Start(t, providertest.With(toy{}.provider()))
	rg := providertest.Group().String()
	url := wheelID("w").String() + version
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	bad := arm.CodeInvalidRequestContent
	for _, c := range []struct {
		name, method, target, body string
		status                     int
		code                       string
	}{
		{"10 MB", "PUT", url, `{"x":"` + strings.Repeat("x", 10<<20) + `"}`, 413, arm.CodeRequestTooLarge},
		{"deep nesting", "PUT", url, deep, 400, bad},
		{"deep arrays", "PUT", url, strings.Repeat("[", 100000), 400, bad},
		{"no body", "PUT", url, "", 400, bad},
		{"no JSON", "PUT", url, "location: local", 400, bad},
		{"two documents", "PUT", url, `{}{}`, 400, bad},
		{"an array", "PUT", url, `[]`, 400, bad},
		{"null", "PUT", url, `null`, 400, bad},
		{"a number", "PATCH", url, `1`, 400, bad},
		{"cut off", "PUT", url, `{"location":`, 400, bad},
		{"NUL in a value", "PUT", url, `{"location":"local\u0000"}`, 400, bad},
		{"NUL in a name", "PUT", url, `{"loc\u0000ation":"local"}`, 400, bad},
		{"not UTF-8", "PUT", url, "{\"location\":\"\xff\"}", 400, bad},
		{"names that differ by case", "PUT", url, `{"location":"local","Location":"north"}`, 400, bad},
		{"the same deeper", "PUT", url, `{"location":"local","properties":{"size":1,"SIZE":99}}`, 400, bad},
		{"properties is a text", "PUT", url, `{"location":"local","properties":"x"}`, 400, bad},
		{"properties is an array", "PUT", url, `{"location":"local","properties":[1]}`, 400, bad},
		{"wrong type inside", "PUT", url, `{"location":"local","properties":{"size":"big"}}`, 400, bad},
		{"tags is an array", "PUT", url, `{"location":"local","tags":[1]}`, 400, "InvalidRequestContent"},
		{"location is a number", "PUT", url, `{"location":7}`, 400, arm.CodeLocationRequired},
		{"dots as a name", "PUT", rg + "/providers/Hallmark.Toy/axles/%2e%2e" + version, `{}`, 400, arm.CodeInvalidResourceID},
		{"an escaped slash", "PUT", rg + "/providers/Hallmark.Toy/axles/a%2f..%2fb" + version, `{}`, 400, arm.CodeInvalidResourceID},
		{"a backslash", "PUT", rg + "/providers/Hallmark.Toy/axles/a%5Cb" + version, `{}`, 400, arm.CodeInvalidResourceID},
		{"NUL in the path", "PUT", rg + "/providers/Hallmark.Toy/axles/a%00b" + version, `{}`, 400, arm.CodeInvalidResourceID},
		{"not UTF-8 in the path", "PUT", rg + "/providers/Hallmark.Toy/axles/%ff" + version, `{}`, 400, arm.CodeInvalidResourceID},
		{"a long name", "PUT", rg + "/providers/Hallmark.Toy/axles/" + strings.Repeat("a", 300) + version, `{}`, 400, arm.CodeInvalidResourceID},
		{"a long path", "GET", "/" + strings.Repeat("a/", 3000) + version, "", 400, arm.CodeInvalidResourceID},
		{"a method nobody knows", "BREW", url, "", 405, arm.CodeMethodNotAllowed},
		{"a hostile id inside", "PUT", url, `{"location":"local","properties":{"axle":{"id":"/../../etc/passwd"}}}`, 400, arm.CodeInvalidResourceID},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, s, c.method, c.target, c.body, c.status, c.code) })
	}
	if n := s.Pipeline.Panics(); n != 0 {
		t.Errorf("%d panics", n)
	}
	docs, err := store.List(t.Context(), s.Store, store.Query{Type: "Hallmark.Toy/wheels"})
	if err != nil || len(docs) != 0 {
		t.Errorf("something was stored: %v, %v", docs, err)
	}
}

func TestAPanicIsA500ThatSaysNothing(t *testing.T) {
	s := providertest.Start(t, providertest.With(toy{}.provider()), providertest.WithoutControllers())
	status, _, body := s.Do(t, "GET", "/subscriptions/"+providertest.Subscription+"/providers/Hallmark.Toy/panic"+version, nil)
	if status != 500 || strings.Contains(string(body), "a bug") || s.Pipeline.Panics() != 1 {
		t.Errorf("%d %s, %d panics", status, body, s.Pipeline.Panics())
	}
}

// One PUT leaves resource, operation and audit event, or nothing at all.
func TestAWriteIsOneTransaction(t *testing.T) {
	for _, fault := range []mem.Fault{mem.FailNotApplied, mem.FailApplied} {
		st := mem.New()
		s := providertest.Start(t, providertest.WithStore(st), providertest.With(toy{}.provider()), providertest.WithoutControllers())
		before := count(t, st)
		st.SetFault(func(int) mem.Fault { return fault })
		status, _, _ := s.Do(t, "PUT", wheelID("w").String()+version, `{"location":"local"}`)
		st.SetFault(nil)
		diff := count(t, st) - before
		if status != 500 || fault == mem.FailNotApplied && diff != 0 || fault == mem.FailApplied && diff != 3 {
			t.Errorf("fault %d: answered %d and left %d documents", fault, status, diff)
		}
	}
}

func count(t *testing.T, s store.Store) int {
	t.Helper()
	ds, err := store.List(t.Context(), s, store.Query{})
	if err != nil {
		t.Fatal(err)
	}
	return len(ds)
}

// Whatever commit fails, applied or not, the wheel gets there.
func TestControllersSurviveEveryCommitFailing(t *testing.T) {
	for _, fault := range []mem.Fault{mem.FailNotApplied, mem.FailApplied} {
		for nth := range 4 {
			st := mem.New()
			s := providertest.Start(t, providertest.WithStore(st), providertest.With(toy{}.provider()), providertest.WithoutControllers())
			url := wheelID("w").String()
			h := expect(t, s, "PUT", url+version, `{"location":"local"}`, 201, "")
			expect(t, s, "PUT", wheelID("x").String()+version, `{"location":"local"}`, 201, "")
			expect(t, s, "DELETE", wheelID("x").String()+version, nil, 202, "")
			n := 0
			st.SetFault(func(int) mem.Fault {
				if n++; n == nth+1 {
					return fault
				}
				return mem.None
			})
			providertest.RunToRest(t, s)
			if got := state(t, s, wheelID("w")); got != "Succeeded" {
				t.Errorf("fault %d at commit %d: state %s", fault, nth, got)
			}
			_, _, answer := s.Do(t, "GET", h.Get("Azure-AsyncOperation"), nil)
			if got := arm.GetString(answer, "status"); got != "Succeeded" {
				t.Errorf("fault %d at commit %d: operation %s", fault, nth, answer)
			}
			expect(t, s, "GET", wheelID("x").String()+version, nil, 404, arm.CodeResourceNotFound)
		}
	}
}

type admitter func(*provider.Write) error

func (a admitter) Admit(_ context.Context, w *provider.Write) error { return a(w) }

func TestAdmission(t *testing.T) {
	s := providertest.Start(t, providertest.With(toy{}.provider()), providertest.WithAdmitter(admitter(func(w *provider.Write) (err error) {
		if w.ID.Name() == "forbidden" {
			return arm.Errorf(403, "RequestDisallowedByPolicy", "Not here.").At("forbidden")
		}
		if w.Action == "write" && w.Type.Tags {
			w.Doc.Body, err = arm.Set(w.Doc.Body, "tags.added", "by policy")
		}
		if w.ID.Name() == "toobig" {
			w.Doc.Body, err = arm.Set(w.Doc.Body, "properties.size", 99)
		}
		return err
	})))
	body := `{"location":"local"}`
	expect(t, s, "PUT", wheelID("forbidden").String()+version, body, 403, "RequestDisallowedByPolicy")
	expect(t, s, "PUT", wheelID("toobig").String()+version, body, 400, arm.CodeInvalidParameter)
	expect(t, s, "PUT", wheelID("w").String()+version, body, 201, "")
	d, err := store.Get(t.Context(), s.Store, wheelID("w").String())
	if err != nil || d.Tags["added"] != "by policy" {
		t.Errorf("stored %v, %v", d, err)
	}
}

func TestConcurrentWritersAllGetThere(t *testing.T) {
	s := providertest.Start(t, providertest.With(toy{}.provider()))
	axle := providertest.Group().Resource("Hallmark.Toy/axles", "a")
	if _, err := s.Client.Put(t.Context(), axle, map[string]any{}); err != nil {
		t.Fatal(err)
	}
	const writers = 5
	done := make(chan error, writers)
	for i := range writers {
		go func() {
			_, err := s.Client.Patch(context.WithoutCancel(t.Context()), axle, map[string]any{"properties": map[string]int{string(rune('a' + i)): i}})
			done <- err
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	raw, err := s.Client.Get(t.Context(), axle)
	var got struct{ Properties map[string]any }
	if err := errors.Join(err, json.Unmarshal(raw, &got)); err != nil || len(got.Properties) != writers+1 {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestPagesCoverEverything(t *testing.T) {
	s := providertest.Start(t, providertest.With(toy{}.provider()))
	var want []string
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		want = append(want, n)
		expect(t, s, "PUT", wheelID(n).String()+version, `{"location":"local"}`, 201, "")
	}
	var got []string
	pages := 0
	for next := "/subscriptions/" + providertest.Subscription + "/providers/Hallmark.Toy/wheels" + version + "&$top=2"; next != ""; pages++ {
		_, _, body := s.Do(t, "GET", next, nil)
		var page struct {
			Value    []struct{ Name string }
			NextLink string
		}
		if err := json.Unmarshal(body, &page); err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Value {
			got = append(got, v.Name)
		}
		next = page.NextLink
	}
	if diff := cmp.Diff(want, got); diff != "" || pages != 3 {
		t.Errorf("%d pages (-want +got)\n%s", pages, diff)
	}
	all, err := s.Client.List(t.Context(), providertest.Group(), "Hallmark.Toy/wheels")
	if err != nil || len(all) != len(want) {
		t.Errorf("client lists %d, %v", len(all), err)
	}
}

func TestOperationsDeriveFromTypes(t *testing.T) {
	s := providertest.Start(t, providertest.With(toy{}.provider()))
	reads := map[string]bool{}
	for _, op := range s.Pipeline.Operations() {
		reads[op.Name] = op.Read
	}
	for name, read := range map[string]bool{
		"Hallmark.Toy/wheels/read": true, "Hallmark.Toy/wheels/write": false, "Hallmark.Toy/wheels/spin/action": false, "Hallmark.Toy/wheels/weight/read": true,
		"Hallmark.Toy/locations/sizes/read": true, "Microsoft.Resources/subscriptions/resourceGroups/delete": false,
	} {
		if got, ok := reads[name]; !ok || got != read {
			t.Errorf("%s: there %v, read %v", name, ok, got)
		}
	}
}

func TestWhoMayPoll(t *testing.T) {
	s := providertest.Start(t, providertest.With(toy{}.provider()))
	h := expect(t, s, "PUT", wheelID("w").String()+version, `{"location":"local"}`, 201, "")
	for role, want := range map[string]int{rbac.Reader: 200, "": 403} {
		token, _ := s.TokenFor(t, role, providertest.Group())
		if status, _, body := s.DoAs(t, token, "GET", h.Get("Azure-AsyncOperation"), nil); status != want {
			t.Errorf("role %q: %d %s", role, status, body)
		}
	}
}

func TestRegistrationMistakesAreAllReported(t *testing.T) {
	_, err := provider.New(provider.Config{Store: mem.New(), Authorizer: access.New(mem.New()), Providers: []provider.Provider{{
		Types: []provider.ResourceType{
			{Type: "A.B/c", Scopes: provider.AtResourceGroup},
			{Type: "A.B/d/e", APIVersions: []string{"2024-01-01"}},
			{Type: "A.B", Scopes: provider.AtTenant, APIVersions: []string{"2024-01-01"}},
		},
		Routes: []provider.Route{{Pattern: "/x"}},
	}}})
	for _, want := range []string{"A.B/c has no api-version", "A.B/d/e: its parent", "want NAMESPACE/NAME", "needs a pattern"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
