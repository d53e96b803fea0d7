package pipeline

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"hallmark.dev/hallmark/internal/attest"
	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/image"
)

// cloud is an ARM endpoint in memory that can lie: before each request it asks
// fault whether to fail without applying it, or to apply it and fail all the
// same.
type cloud struct {
	t         *testing.T
	resources map[string]map[string]any // by lower-case id
	writes    []string
	fault     func(r azure.Request) (before, after error)
	// testOutput is what a test script's tests do: exit code by test name.
	failTests map[string]bool
	buildFail string
}

func newCloud(t *testing.T) *cloud {
	return &cloud{t: t, resources: map[string]map[string]any{}, fault: func(azure.Request) (error, error) { return nil, nil }}
}

func armError(status int, code string) error {
	body := fmt.Sprintf(`{"error":{"code":%q,"message":"made up"}}`, code)
	return runtime.NewResponseError(&http.Response{
		StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)),
		Request: &http.Request{Method: "GET", URL: &url.URL{}},
	})
}

func (c *cloud) DoAndWait(ctx context.Context, r azure.Request, into any) error {
	return c.Do(ctx, r, into)
}

func (c *cloud) Do(_ context.Context, r azure.Request, into any) error {
	before, after := c.fault(r)
	if before != nil {
		return before
	}
	answer, err := c.answer(r)
	if err != nil {
		return err
	}
	if after != nil {
		return after
	}
	if into == nil || answer == nil {
		return nil
	}
	raw, _ := json.Marshal(answer)
	return json.Unmarshal(raw, into)
}

func (c *cloud) List(_ context.Context, r azure.Request, each func(json.RawMessage) error) error {
	prefix := strings.ToLower(r.Path) + "/"
	for id, resource := range c.resources {
		if rest, ok := strings.CutPrefix(id, prefix); ok && !strings.Contains(rest, "/") {
			raw, _ := json.Marshal(resource)
			if err := each(raw); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *cloud) answer(r azure.Request) (any, error) {
	key := strings.ToLower(r.Path)
	switch r.Method {
	case http.MethodGet:
		return c.read(key)
	case http.MethodPut:
		return c.write(key, r)
	case http.MethodPatch:
		return c.merge(key, r)
	case http.MethodDelete:
		c.writes = append(c.writes, "DELETE "+r.Path)
		delete(c.resources, key)
		return nil, nil
	}
	return c.action(key, r)
}

func (c *cloud) read(key string) (any, error) {
	if strings.HasSuffix(key, "/skus/12-gen2/versions") {
		return []any{map[string]any{"name": "12.20260101.9"}, map[string]any{"name": "12.20261121.1530"}, map[string]any{"name": "12.20261121.100"}}, nil
	}
	if strings.Contains(key, "/artifacttypes/vmimage/") {
		return map[string]any{"name": "x", "properties": map[string]any{"hallmark": map[string]any{"digest": "sha256:base", "osId": "debian", "osVersion": "12"}}}, nil
	}
	if resource, ok := c.resources[key]; ok {
		return resource, nil
	}
	return nil, armError(404, "ResourceNotFound")
}

func plain(v any) map[string]any {
	raw, _ := json.Marshal(v)
	var out map[string]any
	_ = json.Unmarshal(raw, &out)
	return out
}

func (c *cloud) write(key string, r azure.Request) (any, error) {
	c.writes = append(c.writes, "PUT "+r.Path)
	resource := plain(r.Body)
	resource["id"], resource["name"] = r.Path, r.Path[strings.LastIndexByte(r.Path, '/')+1:]
	properties, _ := resource["properties"].(map[string]any)
	if properties == nil {
		properties = map[string]any{}
	}
	properties["provisioningState"] = "Succeeded"
	resource["properties"] = properties
	if strings.Contains(key, "/versions/") {
		properties["hallmark"] = map[string]any{"imageDigest": imageDigest}
	}
	c.resources[key] = resource
	return resource, nil
}

func (c *cloud) merge(key string, r azure.Request) (any, error) {
	c.writes = append(c.writes, "PATCH "+r.Path)
	resource, ok := c.resources[key]
	if !ok {
		return nil, armError(404, "ResourceNotFound")
	}
	for name, value := range plain(r.Body) {
		resource[name] = value
	}
	return resource, nil
}

func (c *cloud) action(key string, r azure.Request) (any, error) {
	id, action := key[:strings.LastIndexByte(key, '/')], key[strings.LastIndexByte(key, '/')+1:]
	resource, ok := c.resources[id]
	if !ok {
		return nil, armError(404, "ResourceNotFound")
	}
	switch action {
	case "run":
		return nil, c.runTemplate(resource)
	case "runcommand":
		body := plain(r.Body)
		var script []string
		for _, line := range body["script"].([]any) {
			script = append(script, line.(string))
		}
		return map[string]any{"value": []any{map[string]any{"message": "Enable succeeded: \n[stdout]\n" + c.runTests(strings.Join(script, "\n")) + "\n[stderr]\n"}}}, nil
	}
	return nil, armError(404, "NotFound")
}

func (c *cloud) runTemplate(resource map[string]any) error {
	properties := resource["properties"].(map[string]any)
	if c.buildFail != "" {
		properties["lastRunStatus"] = map[string]any{"runState": "Failed", "message": c.buildFail, "runId": "01builderrun"}
		return nil
	}
	properties["lastRunStatus"] = map[string]any{"runState": "Succeeded"}
	for _, d := range properties["distribute"].([]any) {
		distributor := d.(map[string]any)
		id := distributor["galleryImageId"].(string)
		_, err := c.write(strings.ToLower(id), azure.Request{Path: id, Body: map[string]any{
			"tags": distributor["artifactTags"], "location": "eastus",
			"properties": map[string]any{"publishingProfile": map[string]any{"excludeFromLatest": distributor["excludeFromLatest"]}},
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

var reportLine = regexp.MustCompile(`(?m)^  printf '(HALLMARK-TEST-\w+) `)
var testLine = regexp.MustCompile(`(?m)^run (\d+) \d+$`)

// runTests reports every test of a script with empty output; those of failTests
// by exit code 1.
func (c *cloud) runTests(script string) string {
	marker := reportLine.FindStringSubmatch(script)
	if marker == nil {
		c.t.Fatal("the script has no report line")
	}
	var out bytes.Buffer
	for i, m := range testLine.FindAllStringSubmatch(script, -1) {
		code := 0
		if c.failTests[m[1]] {
			code = 1
		}
		fmt.Fprintf(&out, "%s %d %d 5 .%s .\n", marker[1], i, code, base64.StdEncoding.EncodeToString(nil))
	}
	return out.String()
}

var imageDigest = "sha256:" + strings.Repeat("ab", 32)

type signer struct{}

func (signer) SignTattoo(content []byte) ([]byte, error) { return []byte("signed\n"), nil }
func (signer) SignStatement(attest.Statement) (attest.Envelope, error) {
	return attest.Envelope{PayloadType: attest.PayloadType}, nil
}

const recipeText = `
name: web
gallery: golden
definition: {name: web-base, identifier: {publisher: contoso, offer: web, sku: base}, osType: Linux}
source: {type: PlatformImage, publisher: Debian, offer: debian-12, sku: 12-gen2, version: latest}
version: 1.0.0
regions: [eastus, westeurope]
standardTests: {skip: [%s]}
customize:
  - {type: Shell, name: hello, inline: ["true"]}
tests:
  - {name: says hello, command: {run: "true"}}
`

func newDriver(t *testing.T, c Cloud) *Driver {
	t.Helper()
	recipe, err := image.ParseRecipe([]byte(fmt.Sprintf(recipeText, strings.Join(standardTestNames(t), ", "))), image.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	return &Driver{
		Cloud: c, Signer: signer{}, Recipe: recipe, Log: func(Event) {},
		Place: Place{Subscription: "s", Group: "g", BuildGroup: "g-build", Location: "eastus"},
		Now:   func() time.Time { return now },
	}
}

// standardTestNames are the tests that only a real machine can pass.
func standardTestNames(t *testing.T) []string {
	t.Helper()
	r, err := image.ParseRecipe([]byte(fmt.Sprintf(recipeText, "")), image.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	names := image.PlanTests(r, image.TestInput{Nonce: "x"}).Names()
	var quoted []string
	for _, name := range names[:len(names)-1] {
		quoted = append(quoted, `"`+name+`"`)
	}
	return quoted
}
