package identity

import (
	"fmt"
	"time"
)

// Codes of tokens that are refused, as Resource Manager answers them.
const (
	CodeInvalidToken         = "InvalidAuthenticationToken"
	CodeExpiredToken         = "ExpiredAuthenticationToken"
	CodeInvalidTokenAudience = "InvalidAuthenticationTokenAudience"
	CodeInvalidTokenTenant   = "InvalidAuthenticationTokenTenant"
)

// TokenError is why a token is refused, in words that its sender may read: nothing in
// it helps to make one that is accepted. It is an ErrUnauthenticated.
type TokenError struct {
	Code    string
	Message string
	Cause   error // for the log
}

func (e *TokenError) Error() string {
	if e.Cause != nil {
		return e.Code + ": " + e.Message + " (" + e.Cause.Error() + ")"
	}
	return e.Code + ": " + e.Message
}

// Unwrap makes errors.Is(err, ErrUnauthenticated) true.
func (e *TokenError) Unwrap() []error {
	if e.Cause == nil {
		return []error{ErrUnauthenticated}
	}
	return []error{ErrUnauthenticated, e.Cause}
}

func (e *TokenError) because(err error) *TokenError { e.Cause = err; return e }

// Invalid is a token that is none, or not signed by whom it should be.
func Invalid(cause error) *TokenError {
	return &TokenError{Code: CodeInvalidToken, Message: "The access token is invalid.", Cause: cause}
}

// Expired is a token that is too old.
func Expired(at, now time.Time) *TokenError {
	return &TokenError{Code: CodeExpiredToken, Message: fmt.Sprintf("The access token expiry UTC time '%s' is earlier than current UTC time '%s'. Sign in again.",
		at.UTC().Format(time.DateTime), now.UTC().Format(time.DateTime))}
}

// WrongTenant is a token of another tenant.
func WrongTenant(got, want string) *TokenError {
	return &TokenError{Code: CodeInvalidTokenTenant, Message: fmt.Sprintf(
		"The access token is from the wrong tenant '%s'. It must match the tenant '%s' of this server. Sign in to that tenant.", clip(got), want)}
}
