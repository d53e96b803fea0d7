package attest

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// PayloadType is the media type of in-toto statements in DSSE envelopes.
const PayloadType = "application/vnd.in-toto+json"

// maxEnvelope bounds what is read as an envelope.
const maxEnvelope = 4 << 20

// Envelope is a DSSE envelope, in its JSON form.
type Envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     string              `json:"payload"` // base64
	Signatures  []EnvelopeSignature `json:"signatures"`
}

// EnvelopeSignature is one signature of an envelope.
type EnvelopeSignature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"` // base64
}

// preAuthEncoding is DSSE's PAE: what is really signed, so that a payload of
// one type can never pass for one of another.
func preAuthEncoding(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// SignStatement wraps a statement in a signed envelope.
func SignStatement(k PrivateKey, s Statement) (Envelope, error) {
	if err := s.check(); err != nil {
		return Envelope{}, err
	}
	payload, err := json.Marshal(s)
	if err != nil {
		return Envelope{}, fmt.Errorf("write the statement: %w", err)
	}
	signature := ed25519.Sign(k.key, preAuthEncoding(PayloadType, payload))
	return Envelope{
		PayloadType: PayloadType,
		Payload:     base64.StdEncoding.EncodeToString(payload),
		Signatures:  []EnvelopeSignature{{KeyID: k.ID, Sig: base64.StdEncoding.EncodeToString(signature)}},
	}, nil
}

// ParseEnvelope reads an envelope's JSON without believing any of it.
func ParseEnvelope(data []byte) (Envelope, error) {
	var e Envelope
	if len(data) > maxEnvelope {
		return e, fmt.Errorf("%w: an envelope has at most %d bytes", ErrFormat, maxEnvelope)
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return e, nil
}

// VerifyStatement checks an envelope and returns its statement and the ids of
// the trusted keys that signed it, of which there is at least one. Nothing of
// the payload is read before a signature fits. The error is [ErrFormat],
// [ErrUntrusted] or [ErrSignature].
func VerifyStatement(trusted Trusted, e Envelope) (Statement, []string, error) {
	if e.PayloadType != PayloadType {
		return Statement{}, nil, fmt.Errorf("%w: the payload's type is %q, not %s", ErrFormat, e.PayloadType, PayloadType)
	}
	payload, err := decodeBase64(e.Payload)
	if err != nil {
		return Statement{}, nil, fmt.Errorf("%w: the payload is not base64", ErrFormat)
	}
	signers, err := verifySignatures(trusted, e.Signatures, preAuthEncoding(e.PayloadType, payload))
	if err != nil {
		return Statement{}, nil, err
	}
	var s Statement
	if err := json.Unmarshal(payload, &s); err != nil {
		return Statement{}, nil, fmt.Errorf("%w: the statement: %w", ErrFormat, err)
	}
	return s, signers, s.check()
}

// verifySignatures accepts an envelope if any signature is a trusted key's; a
// signature of a trusted key that does not fit is never overlooked.
func verifySignatures(trusted Trusted, signatures []EnvelopeSignature, message []byte) ([]string, error) {
	if len(signatures) == 0 || len(signatures) > 100 {
		return nil, fmt.Errorf("%w: an envelope has between 1 and 100 signatures", ErrFormat)
	}
	var signers []string
	var untrusted error
	for _, s := range signatures {
		raw, err := decodeBase64(s.Sig)
		if err != nil {
			return nil, fmt.Errorf("%w: a signature is not base64", ErrFormat)
		}
		switch err := trusted.verify(s.KeyID, message, raw); {
		case err == nil:
			signers = append(signers, s.KeyID)
		case errors.Is(err, ErrUntrusted):
			untrusted = err
		default:
			return nil, err
		}
	}
	if len(signers) == 0 {
		return nil, untrusted
	}
	return signers, nil
}

// decodeBase64 accepts both alphabets, as DSSE asks of a verifier.
func decodeBase64(text string) ([]byte, error) {
	if data, err := base64.StdEncoding.DecodeString(text); err == nil {
		return data, nil
	}
	return base64.URLEncoding.DecodeString(text)
}
