package identity

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
func (e *TokenError) Unwrap() []error { return []error{ErrUnauthenticated, e.Cause} }
