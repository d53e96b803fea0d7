package azure

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// arm is a server that answers as the specification of ARM's asynchronous
// operations says.
func startARM(t *testing.T, routes map[string]http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/adfs") {
			answerToken(w, r)
			return
		}
		if r.Header.Get("Authorization") != "Bearer secret-token" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler, ok := routes[r.Method+" "+r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"error":{"code":"ResourceNotFound","message":"nothing at ` + r.URL.Path + `"}}`))
			return
		}
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := New(Endpoint{URL: server.URL, ClientID: "app", ClientSecret: "s3cret", CAFile: ca})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func answerToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	base := "https://" + r.Host + "/adfs"
	if strings.HasSuffix(r.URL.Path, "openid-configuration") {
		_ = json.NewEncoder(w).Encode(map[string]string{
			"issuer": base, "authorization_endpoint": base + "/oauth2/authorize",
			"token_endpoint": base + "/oauth2/token", "jwks_uri": base + "/discovery/keys",
		})
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"token_type": "Bearer", "expires_in": 3599, "access_token": "secret-token"})
}

func TestListFollowsEveryPage(t *testing.T) {
	var host string
	client := startARM(t, map[string]http.HandlerFunc{
		"GET /things": func(w http.ResponseWriter, r *http.Request) {
			host = r.Host
			if r.URL.Query().Get("$skiptoken") == "" {
				_, _ = w.Write([]byte(`{"value":[1,2],"nextLink":"https://` + host + `/things?api-version=1&$skiptoken=x"}`))
				return
			}
			_, _ = w.Write([]byte(`{"value":[3]}`))
		},
	})
	var got []string
	err := client.List(context.Background(), Request{Path: "/things", APIVersion: "1"}, func(item json.RawMessage) error {
		got = append(got, string(item))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1", "2", "3"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestANextLinkToAnotherHostIsRefused(t *testing.T) {
	client := startARM(t, map[string]http.HandlerFunc{
		"GET /things": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"value":[],"nextLink":"https://evil.example/things"}`))
		},
	})
	err := client.List(context.Background(), Request{Path: "/things"}, func(json.RawMessage) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "leaves the endpoint") {
		t.Errorf("got %v", err)
	}
}

func TestPutWaitsForTheOperation(t *testing.T) {
	polls := 0
	client := startARM(t, map[string]http.HandlerFunc{
		"PUT /subscriptions/s/x": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Azure-AsyncOperation", "https://"+r.Host+"/op")
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"properties":{"provisioningState":"Creating"}}`))
		},
		"GET /op": func(w http.ResponseWriter, _ *http.Request) {
			if polls++; polls < 2 {
				_, _ = w.Write([]byte(`{"status":"InProgress"}`))
				return
			}
			_, _ = w.Write([]byte(`{"status":"Succeeded"}`))
		},
		"GET /subscriptions/s/x": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"properties":{"provisioningState":"Succeeded"}}`))
		},
	})
	client.wait = 1
	var got struct {
		Properties struct{ ProvisioningState string }
	}
	if err := client.Put(context.Background(), "/subscriptions/s/x", "1", map[string]string{}, &got); err != nil {
		t.Fatal(err)
	}
	if got.Properties.ProvisioningState != "Succeeded" {
		t.Errorf("got %+v", got)
	}
}

func TestErrorsAreSaidAsARMSaysThem(t *testing.T) {
	client := startARM(t, nil)
	err := client.Get(context.Background(), "/subscriptions/s/nothing", "1", nil)
	if !IsNotFound(err) {
		t.Fatalf("got %v, want not found", err)
	}
	if got, want := Message(err), "ResourceNotFound: nothing at /subscriptions/s/nothing"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStreamCopiesTheBody(t *testing.T) {
	client := startARM(t, map[string]http.HandlerFunc{
		"GET /blob": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("console")) },
	})
	var got bytes.Buffer
	if err := client.Stream(context.Background(), Request{Method: "GET", Path: "/blob"}, &got); err != nil {
		t.Fatal(err)
	}
	if got.String() != "console" {
		t.Errorf("got %q", got.String())
	}
}
