package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

const (
	moduleName    = "hallmark"
	moduleVersion = "v1.0.0"
	// pollEvery is how often a long-running operation is asked for; the
	// endpoint's Retry-After, where it is longer, wins.
	pollEvery = time.Second
)

// Client sends requests to one ARM endpoint. It is safe for concurrent use.
type Client struct {
	endpoint string
	pipeline runtime.Pipeline
	wait     time.Duration
}

// New makes a client of an endpoint. It does not connect.
func New(e Endpoint) (*Client, error) {
	options, err := e.Options()
	if err != nil {
		return nil, err
	}
	credential, err := e.Credential()
	if err != nil {
		return nil, fmt.Errorf("credential for %s: %w", e.URL, err)
	}
	client, err := arm.NewClient(moduleName, moduleVersion, credential, options)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", e.URL, err)
	}
	return &Client{endpoint: client.Endpoint(), pipeline: client.Pipeline(), wait: pollEvery}, nil
}

// Endpoint is the base URL, without a trailing slash.
func (c *Client) Endpoint() string { return strings.TrimSuffix(c.endpoint, "/") }

// Request is one ARM request. Path is an ARM id or a path below the endpoint.
type Request struct {
	Method, Path, APIVersion string
	Query                    url.Values
	// Body is marshalled as JSON unless it is nil; json.RawMessage goes as it is.
	Body any
	// IfMatch, where set, makes the write conditional on the resource's etag.
	IfMatch string

	// stream leaves the answer's body unread, for Stream.
	stream bool
}

// Do sends one request and decodes the answer into into, unless that is nil.
// It does not wait for a long-running operation. An answer of 400 and above is
// an *azcore.ResponseError; see IsNotFound, Code.
func (c *Client) Do(ctx context.Context, r Request, into any) error {
	response, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	return decode(response, into)
}

// DoAndWait sends a request and waits until the long-running operation that it
// started has ended; without one it returns at once. into receives the
// resource as it is then.
func (c *Client) DoAndWait(ctx context.Context, r Request, into any) error {
	response, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	poller, err := runtime.NewPoller[json.RawMessage](response, c.pipeline, nil)
	if err != nil {
		return fmt.Errorf("%s %s: follow the operation: %w", r.Method, r.Path, err)
	}
	raw, err := poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: c.wait})
	if err != nil {
		return err
	}
	if into == nil || len(raw) == 0 {
		return nil
	}
	return json.Unmarshal(raw, into)
}

// Get reads a resource.
func (c *Client) Get(ctx context.Context, id, apiVersion string, into any) error {
	return c.Do(ctx, Request{Method: http.MethodGet, Path: id, APIVersion: apiVersion}, into)
}

// Put creates or replaces a resource and waits for it.
func (c *Client) Put(ctx context.Context, id, apiVersion string, body, into any) error {
	return c.DoAndWait(ctx, Request{Method: http.MethodPut, Path: id, APIVersion: apiVersion, Body: body}, into)
}

// Delete removes a resource and waits until it is gone; a resource that was not
// there is no error.
func (c *Client) Delete(ctx context.Context, id, apiVersion string) error {
	err := c.DoAndWait(ctx, Request{Method: http.MethodDelete, Path: id, APIVersion: apiVersion}, nil)
	if IsNotFound(err) {
		return nil
	}
	return err
}

// List calls each with every item of a list, page after page, until it returns
// an error. Lists are read with GET unless the request says otherwise: those of
// Microsoft.PolicyInsights want POST.
func (c *Client) List(ctx context.Context, r Request, each func(json.RawMessage) error) error {
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	for {
		var page struct {
			Value     []json.RawMessage `json:"value"`
			NextLink  string            `json:"nextLink"`
			ODataLink string            `json:"@odata.nextLink"`
		}
		if err := c.Do(ctx, r, &page); err != nil {
			return err
		}
		for _, item := range page.Value {
			if err := each(item); err != nil {
				return err
			}
		}
		link := cmp.Or(page.NextLink, page.ODataLink)
		if link == "" {
			return nil
		}
		next, err := c.follow(link)
		if err != nil {
			return err
		}
		next.Method = r.Method
		r = next
	}
}

// follow turns a nextLink into a request. A link to another host is refused:
// our token would go there.
func (c *Client) follow(link string) (Request, error) {
	rest, ok := strings.CutPrefix(link, c.Endpoint()+"/")
	if !ok {
		return Request{}, fmt.Errorf("nextLink %q leaves the endpoint %s", link, c.Endpoint())
	}
	path, query, _ := strings.Cut(rest, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return Request{}, fmt.Errorf("nextLink %q: %w", link, err)
	}
	return Request{Path: "/" + path, Query: values}, nil
}

func (c *Client) send(ctx context.Context, r Request) (*http.Response, error) {
	request, err := runtime.NewRequest(ctx, r.Method, runtime.JoinPaths(c.endpoint, r.Path))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	query := request.Raw().URL.Query()
	for key, values := range r.Query {
		query[key] = values
	}
	if r.APIVersion != "" {
		query.Set("api-version", r.APIVersion)
	}
	request.Raw().URL.RawQuery = query.Encode()
	request.Raw().Header.Set("Accept", "application/json")
	if r.stream {
		runtime.SkipBodyDownload(request)
	}
	if r.IfMatch != "" {
		request.Raw().Header.Set("If-Match", r.IfMatch)
	}
	if r.Body != nil {
		if err := runtime.MarshalAsJSON(request, r.Body); err != nil {
			return nil, fmt.Errorf("%s %s: encode the body: %w", r.Method, r.Path, err)
		}
	}
	response, err := c.pipeline.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return nil, runtime.NewResponseError(response)
	}
	return response, nil
}

// maxAnswer bounds what one answer may cost in memory, in bytes.
const maxAnswer = 64 << 20

func decode(response *http.Response, into any) error {
	defer response.Body.Close()
	if into == nil {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("decode the answer of %s: %w", response.Request.URL.Path, err)
	}
	return nil
}

// IsNotFound says whether an error is ARM's answer that something does not exist.
func IsNotFound(err error) bool { return status(err) == http.StatusNotFound }

// IsConflict says whether ARM refused because the resource is busy or changed.
func IsConflict(err error) bool {
	s := status(err)
	return s == http.StatusConflict || s == http.StatusPreconditionFailed
}

// Code is ARM's error code, or "" where the error is not ARM's.
func Code(err error) string {
	var e *azcore.ResponseError
	if errors.As(err, &e) {
		return e.ErrorCode
	}
	return ""
}

func status(err error) int {
	var e *azcore.ResponseError
	if errors.As(err, &e) {
		return e.StatusCode
	}
	return 0
}

// Stream copies an answer's body, whatever its size and type, to a writer.
func (c *Client) Stream(ctx context.Context, r Request, to io.Writer) error {
	r.stream = true
	response, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(to, response.Body)
	return err
}

// IsServerError says whether the endpoint itself failed, so that asking again
// may help.
func IsServerError(err error) bool { return status(err) >= http.StatusInternalServerError }
