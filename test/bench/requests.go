package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	getRateGoal = 8000.0 // a second
	putRateGoal = 800.0
	// callers is how many connections send requests, each its next when it has the answer.
	callers = 16
	// rateWindow is for how long each kind of request is sent.
	rateWindow = 6 * time.Second
)

// measureRequests sends requests from this process to a server with 100,000 machines, over
// TLS on loopback.
func (b *bench) measureRequests(ctx context.Context) (err error) {
	p, err := b.newPlane("requests")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.remove(context.WithoutCancel(ctx))) }()
	if err := b.fullPlane(ctx, p); err != nil {
		return err
	}
	c, err := p.caller(ctx)
	if err != nil {
		return err
	}
	if err := c.assignTwo(ctx); err != nil {
		return err
	}
	if err := p.settled(ctx); err != nil {
		return err
	}
	get := func(int, int) request { return request{"GET", p.anyID(), apiCompute, ""} }
	page := func(int, int) request {
		after := base64.RawURLEncoding.EncodeToString([]byte(strings.ToLower(p.anyID())))
		return request{"GET", "/subscriptions/" + p.server.Subscription + "/providers/" + machineType, apiCompute + "&$top=100&$skiptoken=" + after, ""}
	}
	put := func(caller, n int) request {
		id := fmt.Sprintf("/subscriptions/%s/resourceGroups/bench/providers/Microsoft.Network/publicIPAddresses/ip-%d-%d", p.server.Subscription, caller, n)
		return request{"PUT", id, apiNetwork, `{"location":"eastus","tags":{"owner":"bench"},"properties":{"publicIPAllocationMethod":"Dynamic"}}`}
	}
	for _, kind := range []struct {
		what string
		goal float64
		next func(caller, n int) request
	}{{"GET by id", getRateGoal, get}, {"list page of 100", 0, page}, {"PUT, durable, two policies", putRateGoal, put}} {
		server, client := p.ticks(), ownTime()
		took, err := c.flood(ctx, kind.next)
		if err != nil {
			return fmt.Errorf("%s: %w", kind.what, err)
		}
		server, client = p.ticks()-server, ownTime()-client
		rate := float64(len(took)) / rateWindow.Seconds()
		what := fmt.Sprintf("requests: %s, %d at a time", kind.what, callers)
		if kind.goal > 0 {
			b.table.atLeast(what+", a second", rate, kind.goal, "%.0f")
		} else {
			b.table.note(what, fmt.Sprintf("%.0f/s", rate))
		}
		b.table.note(what+": median and 99 %", fmt.Sprintf("%.2f and %.2f ms", milliseconds(took.quantile(0.5)), milliseconds(took.quantile(0.99))))
		b.table.note(what+": processor time of server and client for each", fmt.Sprintf("%.0f and %.0f µs", float64(server)*1e4/float64(len(took)), float64(client.Microseconds())/float64(len(took))))
	}
	return nil
}

// ownTime is the processor time that this process has used.
func ownTime() time.Duration {
	var used unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &used) // never fails
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// caller is a plain HTTP client with a token: what the SDK's does beside sending would be
// measured with it.
type caller struct {
	plane *plane
	http  *http.Client
	tls   *tls.Config
	token string
}

type request struct{ method, path, apiVersion, body string }

func (p *plane) caller(ctx context.Context) (*caller, error) {
	ca, err := os.ReadFile(p.dir.CACertificate())
	if err != nil {
		return nil, err
	}
	secret, err := os.ReadFile(p.dir.AdminSecret())
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	c := &caller{plane: p, tls: &tls.Config{RootCAs: pool}}
	c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: c.tls}}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {p.server.ClientID}, "client_secret": {strings.TrimSpace(string(secret))}, "scope": {p.server.URL + "//.default"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.server.URL+"/adfs/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var token struct {
		Token string `json:"access_token"`
	}
	err = json.NewDecoder(answer.Body).Decode(&token)
	c.token = token.Token
	return c, err
}

func (c *caller) send(ctx context.Context, q request) error {
	r, err := http.NewRequestWithContext(ctx, q.method, c.plane.server.URL+q.path+"?api-version="+q.apiVersion, strings.NewReader(q.body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %.300s", q.method, q.path, answer.Status, body)
	}
	return err
}

// flood sends requests for rateWindow, over a connection for each caller, and says how
// long each took.
func (c *caller) flood(ctx context.Context, next func(caller, n int) request) (sample, error) {
	var all sample
	var mu sync.Mutex
	end := time.Now().Add(rateWindow)
	err := parallel(callers, func(i int) error {
		w, err := dialWire(strings.TrimPrefix(c.plane.server.URL, "https://"), c.token, c.tls)
		if err != nil {
			return err
		}
		defer w.conn.Close()
		own := make(sample, 0, 1<<16)
		for n := 0; time.Now().Before(end) && ctx.Err() == nil; n++ {
			q := next(i, n)
			start := time.Now()
			if err := w.send(q); err != nil {
				return err
			}
			own = append(own, time.Since(start))
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, own...)
		return ctx.Err()
	})
	return all, err
}

// assignTwo puts two policies in force that look at what is written: one refuses
// locations, one audits a tag.
func (c *caller) assignTwo(ctx context.Context) error {
	const api = "2023-04-01"
	scope := "/subscriptions/" + c.plane.server.Subscription
	rules := map[string]string{
		"where": `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Network/publicIPAddresses"},{"field":"location","notIn":["eastus","westeurope"]}]},"then":{"effect":"deny"}}`,
		"owner": `{"if":{"allOf":[{"field":"type","equals":"Microsoft.Network/publicIPAddresses"},{"field":"tags['owner']","exists":false}]},"then":{"effect":"audit"}}`,
	}
	todo := []request{{"PUT", scope + "/resourceGroups/bench", "2021-04-01", `{"location":"eastus"}`}}
	for name, rule := range rules {
		definition := scope + "/providers/Microsoft.Authorization/policyDefinitions/" + name
		todo = append(todo, request{"PUT", definition, api, `{"properties":{"mode":"Indexed","policyRule":` + rule + `}}`},
			request{"PUT", scope + "/providers/Microsoft.Authorization/policyAssignments/" + name, api, `{"properties":{"policyDefinitionId":"` + definition + `"}}`})
	}
	for _, q := range todo {
		if err := c.send(ctx, q); err != nil {
			return err
		}
	}
	return nil
}
