package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"

	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/store"
)

// canary is a secret that is recognised wherever it comes out, in any part of it.
const canary = "Canary-7f3a91-Sings!"

// gathered is everything that was logged, at every level.
type gathered struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (g *gathered) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.Write(p)
}

func (g *gathered) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.String()
}

// where are the forms in which a secret could come out.
func where(text string) (forms []string) {
	for name, form := range map[string]string{"in clear": canary, "in base64": strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(canary)), "="), "escaped": fmt.Sprintf("%q", canary)[1:10]} {
		if strings.Contains(text, form) {
			forms = append(forms, name)
		}
	}
	return forms
}

// secrets are requests that carry the canary, each where its API has a secret: some are
// accepted, some refused, and some refused because of the secret's own shape.
func secrets() [][3]string {
	vm := rg + "/providers/Microsoft.Compute/virtualMachines/"
	const api = "?api-version=2024-07-01"
	profile := `{"location":"local","properties":{"hardwareProfile":{"vmSize":"Standard_B1s"},"osProfile":{"computerName":"web","adminUsername":"azureuser","adminPassword":` + quoted(canary) +
		`,"customData":"` + base64.StdEncoding.EncodeToString([]byte(canary)) + `"%s},"storageProfile":{"osDisk":{"createOption":"FromImage"},"imageReference":{"publisher":"Debian","offer":"debian-12","sku":"12","version":"latest"}},"networkProfile":{"networkInterfaces":[{"id":"` + rg + `/providers/Microsoft.Network/networkInterfaces/n"}]}}}`
	deployment := rg + "/providers/Microsoft.Resources/deployments/"
	secure := `{"properties":{"mode":"Incremental","parameters":{"word":{"value":` + quoted(canary) + `}},"template":{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0",
 "parameters":{"word":{"type":"securestring"}},"resources":[%s],"outputs":{"said":{"type":"securestring","value":"[parameters('word')]"},"whole":{"type":"secureObject","value":{"a":"[parameters('word')]"}}}}}}`
	machine := func(more string) string {
		return `{"type":"Microsoft.Compute/virtualMachines","apiVersion":"2024-07-01","name":"d","location":"local","properties":{"osProfile":{"adminUsername":"azureuser","adminPassword":"[parameters('word')]"` + more + `}}}`
	}
	network := rg + "/providers/Microsoft.Network/"
	return [][3]string{
		{"PUT", network + "virtualNetworks/v" + networkAPI, `{"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`},
		{"PUT", network + "networkInterfaces/n" + networkAPI, `{"location":"local","properties":{"ipConfigurations":[{"name":"a","properties":{"subnet":{"id":"` + network + `virtualNetworks/v/subnets/s"}}}]}}`},
		{"PUT", vm + "a" + api, fmt.Sprintf(profile, "")},
		{"PUT", vm + "b" + api, fmt.Sprintf(profile, `,"unknown":{"adminPassword":1}`)},
		{"PUT", vm + "c" + api, `{"location":"local","properties":{"osProfile":{"adminPassword":{"value":` + quoted(canary) + `}}}}`},
		{"PUT", vm + "d" + api, `{"location":"local","properties":{"osProfile":{"adminPassword":` + quoted(canary) + `,}}}`},
		{"PATCH", vm + "a" + api, `{"properties":{"osProfile":{"adminPassword":` + quoted(canary) + `}}}`},
		{"PUT", vm + "a/extensions/x" + api, `{"location":"local","properties":{"publisher":"Microsoft.Azure.Extensions","type":"CustomScript","typeHandlerVersion":"2.1","protectedSettings":{"commandToExecute":` + quoted("echo "+canary) + `}}}`},
		{"POST", vm + "a/runCommand" + api, `{"commandId":"RunShellScript","script":["true"],"parameters":[{"name":"x","value":` + quoted(canary) + `}]}`},
		{"PUT", rg + "/providers/Microsoft.Compute/virtualMachineScaleSets/s" + api, `{"location":"local","sku":{"name":"Standard_B1s","capacity":1},"properties":{"virtualMachineProfile":{"osProfile":{"computerNamePrefix":"s","adminUsername":"azureuser","adminPassword":` + quoted(canary) + `}}}}`},
		{"PUT", deployment + "plain" + armAPI, fmt.Sprintf(secure, "")},
		{"PUT", deployment + "machine" + armAPI, fmt.Sprintf(secure, machine(""))},
		{"PUT", deployment + "wrong" + armAPI, fmt.Sprintf(secure, machine(`,"computerName":"[int(parameters('word'))]"`))},
		{"PUT", deployment + "named" + armAPI, fmt.Sprintf(secure, strings.Replace(machine(""), `"name":"d"`, `"name":"[concat(parameters('word'),'/')]"`, 1))},
		{"POST", deployment + "plain/validate" + armAPI, fmt.Sprintf(secure, machine(""))},
		{"PUT", deployment + "broken" + armAPI, strings.Replace(fmt.Sprintf(secure, ""), `"securestring"}`, `"securestring","maxLength":3}`, 1)},
		{"PUT", deployment + "number" + armAPI, strings.Replace(fmt.Sprintf(secure, ""), `"securestring"}`, `"int"}`, 1)},
		{"PUT", rg + "/providers/Microsoft.Sql/servers/db?api-version=2023-05-01-preview", `{"location":"local","properties":{"administratorLogin":"sa","administratorLoginPassword":` + quoted(canary) + `}}`},
		{"PUT", rg + "/providers/Hallmark.Images/pipelines/p?api-version=2026-11-01", `{"location":"local","properties":{"recipe":{},"secrets":{"token":` + quoted(canary) + `}}}`},
		{"POST", rg + "/providers/Hallmark.Images/pipelines/p/run?api-version=2026-11-01", `{"secrets":{"token":` + quoted(canary) + `}}`},
	}
}

func quoted(s string) string {
	raw, _ := json.Marshal(s)
	return string(raw)
}

// Secrets are sent wherever an API has them, in requests that are accepted and in ones
// that fail; then nothing that anybody can see has them: answers, errors, logs, what is
// stored as documents, operations and events.
func TestSecretsDoNotComeOut(t *testing.T) {
	logs := &gathered{}
	s := full(t, providertest.WithLog(slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	accepted := 0
	for _, r := range secrets() {
		status, header, answer := s.Do(t, r[0], r[1], r[2])
		if status < 300 {
			accepted++
		}
		if status >= 500 {
			t.Errorf("%s %s: %d %s", r[0], r[1], status, answer)
		}
		t.Logf("%s %s: %d %.200s", r[0], r[1], status, answer)
		for _, form := range where(string(answer) + fmt.Sprint(header)) {
			t.Errorf("%s %s: the answer has the secret %s: %d %s", r[0], r[1], form, status, answer)
		}
	}
	if accepted < 3 {
		t.Errorf("only %d of the requests were accepted: the test shows little", accepted)
	}
	signIn(t, s)
	seen(t, s)
	stored(t, s)
	for _, form := range where(logs.String()) {
		t.Errorf("the log has the secret %s:\n%s", form, logs)
	}
	if !strings.Contains(logs.String(), "deployments/machine") {
		t.Error("the log is empty: the test shows nothing")
	}
}

// signIn sends the secret as a password, as a token, and in a query.
func signIn(t *testing.T, s *providertest.Server) {
	t.Helper()
	status, _, answer := s.DoWith(t, "POST", "/adfs/oauth2/token", "grant_type=client_credentials&client_id="+s.AppID+"&client_secret="+url.QueryEscape(canary), "Content-Type", "application/x-www-form-urlencoded")
	if status != 401 || len(where(string(answer))) > 0 {
		t.Errorf("signing in with it: %d %s", status, answer)
	}
	status, _, answer = s.DoAs(t, canary, "GET", rg+armAPI, nil)
	if status != 401 || len(where(string(answer))) > 0 {
		t.Errorf("as a token: %d %s", status, answer)
	}
	s.Do(t, "GET", rg+armAPI+"&sig="+url.QueryEscape(canary), nil)
}

// seen reads all there is through the API, as an Owner.
func seen(t *testing.T, s *providertest.Server) {
	t.Helper()
	docs, err := store.List(context.Background(), s.Store, store.Query{SubscriptionID: providertest.Subscription})
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{sub + "/resources" + armAPI, sub + "/providers/Hallmark.Control/events?api-version=2026-11-01", sub + "/providers/Hallmark.Control/operations?api-version=2026-11-01"}
	for _, d := range docs {
		paths = append(paths, d.ID+armAPI+"&$expand=instanceView", d.ID+"/operations"+armAPI)
	}
	for _, p := range paths {
		status, _, answer := s.Do(t, "GET", p, nil)
		for _, form := range where(string(answer)) {
			t.Errorf("GET %s: the answer has the secret %s: %d %s", p, form, status, answer)
		}
	}
	status, _, answer := s.Do(t, "POST", rg+"/exportTemplate"+armAPI, `{"resources":["*"]}`)
	for _, form := range where(string(answer)) {
		t.Errorf("the exported template has the secret %s: %d %s", form, status, answer)
	}
}

// stored looks into the documents: no body has a secret, and no private part has one in
// clear. (Custom data is there as it was sent, in base64, as the machine will see it.)
func stored(t *testing.T, s *providertest.Server) {
	t.Helper()
	docs, err := store.List(context.Background(), s.Store, store.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		for _, form := range where(string(d.Body)) {
			t.Errorf("the document %s has the secret %s: %s", d.ID, form, d.Body)
		}
		if strings.Contains(string(d.Private), canary) {
			t.Errorf("the private part of %s has the secret in clear", d.ID)
		}
	}
}
