package arm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Error codes that more than one package uses, as Azure writes them.
const (
	CodeInvalidResourceID        = "InvalidResourceId"
	CodeInvalidResourceName      = "InvalidResourceName"
	CodeInvalidResourceType      = "InvalidResourceType"
	CodeMissingAPIVersion        = "MissingApiVersionParameter"
	CodeInvalidAPIVersion        = "InvalidApiVersionParameter"
	CodeInvalidRequestContent    = "InvalidRequestContent"
	CodeInvalidParameter         = "InvalidParameter"
	CodeRequestTooLarge          = "RequestEntityTooLarge"
	CodeResourceNotFound         = "ResourceNotFound"
	CodeResourceGroupNotFound    = "ResourceGroupNotFound"
	CodeSubscriptionNotFound     = "SubscriptionNotFound"
	CodeParentResourceNotFound   = "ParentResourceNotFound"
	CodeConflict                 = "Conflict"
	CodeAnotherOperation         = "AnotherOperationInProgress"
	CodeCannotDeleteResource     = "CannotDeleteResource"
	CodePreconditionFailed       = "PreconditionFailed"
	CodeAuthorizationFailed      = "AuthorizationFailed"
	CodeAuthenticationFailed     = "AuthenticationFailed"
	CodeMultipleErrorsOccurred   = "MultipleErrorsOccurred"
	CodeInternalServerError      = "InternalServerError"
	CodeLocationRequired         = "LocationRequired"
	CodeLocationNotAvailable     = "LocationNotAvailableForResourceType"
	CodeOperationPreempted       = "OperationPreempted"
	CodeMethodNotAllowed         = "MethodNotAllowed"
	CodeNestedResourcesExist     = "NestedResourcesExist"
	CodePropertyChangeNotAllowed = "PropertyChangeNotAllowed"
)

// Error is ARM's error: what happened, where, and what to do. It is the
// only error whose text reaches a client; everything else becomes a 500 without text.
type Error struct {
	Status         int              `json:"-"` // HTTP status; 0 inside Details
	Code           string           `json:"code"`
	Message        string           `json:"message"`
	Target         string           `json:"target,omitempty"`
	Details        []*Error         `json:"details,omitempty"`
	AdditionalInfo []AdditionalInfo `json:"additionalInfo,omitempty"`
	*Position                       // of what is wrong in a text, such as a query; nil if it is in none

	Cause error `json:"-"` // for the log, never for the client
}

// Position is a place in a text, as Resource Graph tells it.
type Position struct {
	Line   int    `json:"line,omitempty"`                    // from 1
	Column int    `json:"characterPositionInLine,omitempty"` // from 0
	Token  string `json:"token,omitempty"`
}

// AdditionalInfo is a typed addition, such as the policies that refused a request.
type AdditionalInfo struct {
	Type string          `json:"type"`
	Info json.RawMessage `json:"info"`
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Code + ": " + e.Message)
	for _, d := range e.Details {
		b.WriteString("\n  " + d.Error())
	}
	return b.String()
}

// Unwrap is the cause, for errors.Is and the log.
func (e *Error) Unwrap() error { return e.Cause }

// MarshalEnvelope is the answer's body: {"error":{…}}.
func (e *Error) MarshalEnvelope() []byte {
	b, err := json.Marshal(struct {
		Error *Error `json:"error"`
	}{e})
	if err != nil { // only a malformed AdditionalInfo can do this
		return []byte(`{"error":{"code":"InternalServerError","message":"The error could not be written as JSON."}}`)
	}
	return b
}

// Errorf makes an error with a status, a code and a message.
func Errorf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// At sets what the error is about (a property path such as
// "properties.hardwareProfile.vmSize", or an id) and returns the error.
func (e *Error) At(target string) *Error { e.Target = target; return e }

// Because keeps the underlying error for the log and returns the error.
func (e *Error) Because(err error) *Error { e.Cause = err; return e }

// BadRequest is a 400 about one property.
func BadRequest(code, target, format string, args ...any) *Error {
	return Errorf(http.StatusBadRequest, code, format, args...).At(target)
}

// Conflict is a 409 about one target.
func Conflict(code, target, format string, args ...any) *Error {
	return Errorf(http.StatusConflict, code, format, args...).At(target)
}

// NotFound is the 404 that fits the kind of id.
func NotFound(id ID) *Error {
	switch id.Kind() {
	case KindSubscription:
		return Errorf(404, CodeSubscriptionNotFound, "The subscription '%s' could not be found.", id.Name()).At(id.String())
	case KindResourceGroup:
		return Errorf(404, CodeResourceGroupNotFound, "Resource group '%s' could not be found.", id.Name()).At(id.String())
	}
	where := "in " + id.Scope().Kind().String()
	if g := id.ResourceGroup(); g != "" {
		where = "under resource group '" + g + "'"
	}
	return Errorf(404, CodeResourceNotFound, "The Resource '%s/%s' %s was not found.",
		id.Type(), strings.Join(id.Names(), "/"), where).At(id.String())
}

// Join makes one 400 of all validation errors, nil of none, and the error itself of one.
func Join(errs []*Error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		if errs[0].Status == 0 {
			errs[0].Status = http.StatusBadRequest
		}
		return errs[0]
	}
	return &Error{Status: http.StatusBadRequest, Code: CodeMultipleErrorsOccurred,
		Message: fmt.Sprintf("%d things in the request are wrong. Please see details.", len(errs)), Details: errs}
}

// AsError finds the ARM error in err, or makes a 500 that says nothing about
// the inside; the cause stays for the log.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		if e.Status == 0 {
			c := *e
			c.Status = http.StatusInternalServerError
			return &c
		}
		return e
	}
	return Errorf(500, CodeInternalServerError,
		"The server failed to complete the request. Its log has the reason under the request's correlation id.").Because(err)
}

// IsNotFound reports whether err is an ARM error with status 404.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}
