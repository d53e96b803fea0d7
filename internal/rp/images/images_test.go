package images_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/attest"
	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/pipeline"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/images"
	"hallmark.dev/hallmark/internal/secret"
	"hallmark.dev/hallmark/internal/store"
)

// stubborn is an endpoint that refuses everything for good.
type stubborn struct{}

var errRefused = &pipeline.Failure{Code: "Refused", Message: "the endpoint refuses everything"}

func (stubborn) Do(context.Context, azure.Request, any) error        { return errRefused }
func (stubborn) DoAndWait(context.Context, azure.Request, any) error { return errRefused }
func (stubborn) List(context.Context, azure.Request, func(json.RawMessage) error) error {
	return errRefused
}

type noSigner struct{}

func (noSigner) SignTattoo([]byte) ([]byte, error) { return nil, errors.New("no key") }
func (noSigner) SignStatement(attest.Statement) (attest.Envelope, error) {
	return attest.Envelope{}, errors.New("no key")
}

func start(t *testing.T, options ...providertest.Option) *providertest.Server {
	t.Helper()
	key, err := secret.Open(t.TempDir() + "/key")
	if err != nil {
		t.Fatal(err)
	}
	return providertest.Start(t, append(options, providertest.With(images.New(images.Config{
		Endpoint: func(string) (pipeline.Cloud, error) { return stubborn{}, nil },
		Signer:   noSigner{}, Sealer: key, LogDir: t.TempDir(), Location: providertest.Location,
	})))...)
}

const recipe = `{"name":"web","gallery":"golden","definition":{"name":"web","osType":"Linux","identifier":{"publisher":"p","offer":"o","sku":"s"}},
	"source":{"type":"PlatformImage","publisher":"Debian","offer":"debian-12","sku":"12-gen2","version":"latest"},
	"secrets":{"token":{"env":"TOKEN"}}}`

const version = "?api-version=" + images.APIVersion

func pipelinePath() string {
	return providertest.Group().Resource(images.TypePipeline, "web").String()
}

func put(t *testing.T, s *providertest.Server, recipe string) (int, []byte) {
	t.Helper()
	status, _, body := s.Do(t, "PUT", pipelinePath()+version, `{"properties":{"recipe":`+recipe+`}}`)
	return status, body
}

func TestEveryMistakeOfARecipeIsAnswered(t *testing.T) {
	s := start(t)
	status, body := put(t, s, `{"name":"web","galery":"x","buildTimeoutInMinutes":5000}`)
	if status != 400 {
		t.Fatalf("status %d: %s", status, body)
	}
	for _, want := range []string{"InvalidRecipe", "galery", "gallery", "buildTimeoutInMinutes", "source"} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("the answer does not mention %s: %s", want, body)
		}
	}
	if status, _, _ := s.Do(t, "GET", pipelinePath()+version, ""); status != 404 {
		t.Errorf("a pipeline with mistakes was stored: status %d", status)
	}
}

func run(t *testing.T, s *providertest.Server, body string) arm.ID {
	t.Helper()
	if status, body := put(t, s, recipe); status >= 300 {
		t.Fatalf("status %d: %s", status, body)
	}
	status, _, answer := s.Do(t, "POST", pipelinePath()+"/run"+version, body)
	if status >= 300 {
		t.Fatalf("status %d: %s", status, answer)
	}
	id, err := arm.ParseID(arm.GetString(answer, "id"))
	if err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	return id
}

func TestASecretStandsNowhereAsItIs(t *testing.T) {
	const canary = "canary-9f3a77"
	s := start(t, providertest.WithoutControllers())
	id := run(t, s, `{"secrets":{"token":"`+canary+`"}}`)
	err := s.Store.View(t.Context(), func(tx store.ReadTx) error {
		documents, err := tx.List(store.Query{})
		for _, d := range documents {
			if bytes.Contains(d.Body, []byte(canary)) || bytes.Contains(d.Private, []byte(canary)) {
				t.Errorf("%s holds the secret", d.ID)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, body := s.Do(t, "GET", id.String()+version, ""); bytes.Contains(body, []byte(canary)) {
		t.Error("the run shows the secret")
	}
}

func TestAFailedRunSaysWhyAndForgetsItsSecrets(t *testing.T) {
	s := start(t)
	id := run(t, s, `{"secrets":{"token":"x"}}`)
	s.Settle(t)
	_, _, body := s.Do(t, "GET", id.String()+version, "")
	if got := arm.GetString(body, "properties.run.status"); got != string(pipeline.Failed) {
		t.Errorf("status %q: %s", got, body)
	}
	if got := arm.GetString(body, "properties.run.error.code"); got != "Refused" {
		t.Errorf("error %q", got)
	}
	d, err := store.Get(t.Context(), s.Store, id.Key())
	if err != nil {
		t.Fatal(err)
	}
	var private struct{ Secrets []byte }
	if err := json.Unmarshal(d.Private, &private); err != nil || private.Secrets != nil {
		t.Errorf("secrets are kept: %s, %v", d.Private, err)
	}
	_, _, body = s.Do(t, "GET", id.String()+"/log"+version+"&offset=0", "")
	if !strings.Contains(string(body), "the endpoint refuses everything") || !strings.Contains(string(body), `"done":true`) {
		t.Errorf("the log: %s", body)
	}
	if status, _, _ := s.Do(t, "POST", id.String()+"/cancel"+version, ""); status != 409 {
		t.Errorf("canceling what has ended: status %d", status)
	}
	if status, _, _ := s.Do(t, "GET", id.String()+"/log"+version+"&offset=-1", ""); status != 400 {
		t.Errorf("a negative offset: status %d", status)
	}
}

func TestARunIsNotWrittenTwice(t *testing.T) {
	s := start(t)
	id := run(t, s, "")
	s.Settle(t)
	if status, _, body := s.Do(t, "PUT", id.String()+version, `{"properties":{}}`); status != 409 {
		t.Errorf("status %d: %s", status, body)
	}
	if status, _, body := s.Do(t, "POST", pipelinePath()+"/run"+version, `{"version":"not one"}`); status != 400 {
		t.Errorf("status %d: %s", status, body)
	}
}
