package outside

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// Endpoint is what a client needs to know, as the context that `hallmark up`
// has made says it.
type Endpoint struct {
	Endpoint, Tenant, ClientID, SecretFile, CAFile, Subscription string

	// Credential and Options make Azure's clients.
	Credential azcore.TokenCredential
	Options    *arm.ClientOptions
	client     *arm.Client
}

// Endpoint connects Azure's clients to a running instance.
func (i *Instance) Endpoint(t testing.TB) *Endpoint {
	t.Helper()
	var all []Endpoint
	i.Ask(t, &all, "context", "list")
	e := &all[0]
	secret, err := os.ReadFile(e.SecretFile)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(e.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	e.Options = &arm.ClientOptions{DisableRPRegistration: true, ClientOptions: policy.ClientOptions{
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: e.Endpoint, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: e.Endpoint, Audience: e.Endpoint + "/"}}},
		Transport: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
		Retry:     policy.RetryOptions{MaxRetries: -1}, // a request to a server that was killed fails at once
	}}
	// The directory is "adfs" for every embedded issuer; others would be looked
	// up in Microsoft's cloud first.
	if e.Credential, err = azidentity.NewClientSecretCredential("adfs", e.ClientID, strings.TrimSpace(string(secret)),
		&azidentity.ClientSecretCredentialOptions{ClientOptions: e.Options.ClientOptions, DisableInstanceDiscovery: true}); err != nil {
		t.Fatal(err)
	}
	if e.client, err = arm.NewClient("hallmark-e2e", "v1.0.0", e.Credential, e.Options); err != nil {
		t.Fatal(err)
	}
	return e
}

// Group is an id in the resource group that the command line uses.
func (e *Endpoint) Group(path string) string {
	return "/subscriptions/" + e.Subscription + "/resourceGroups/hallmark" + path
}

// call makes one request and decodes the answer; it returns the status.
func (e *Endpoint) Call(ctx context.Context, method, path, apiVersion string, body, into any) (int, error) {
	request, err := runtime.NewRequest(ctx, method, runtime.JoinPaths(e.Endpoint, path))
	if err != nil {
		return 0, err
	}
	path, query, _ := strings.Cut(path, "?")
	request.Raw().URL.Path, request.Raw().URL.RawQuery = path, strings.TrimPrefix(query+"&api-version="+apiVersion, "&")
	if body != nil {
		if err := runtime.MarshalAsJSON(request, body); err != nil {
			return 0, err
		}
	}
	response, err := e.client.Pipeline().Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return response.StatusCode, runtime.NewResponseError(response)
	}
	if into == nil {
		return response.StatusCode, nil
	}
	return response.StatusCode, json.NewDecoder(response.Body).Decode(into)
}

// Must is call, where nothing may go wrong.
func (e *Endpoint) Must(t testing.TB, method, path, apiVersion string, body, into any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := e.Call(ctx, method, path, apiVersion, body, into); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
}
