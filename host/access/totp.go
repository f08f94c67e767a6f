package access

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/provosthq/provost/host"
)

const (
	// step is how long a one-time code lasts; one before and one after are taken,
	// as clocks differ (RFC 6238, section 5.2).
	step = 30
	// recoveryCodes is how many an administrator is given.
	recoveryCodes = 10
)

// codeStep is the time step that a code is of; 0 where it is of none that may be
// used: neither of now, nor later than used.
func codeStep(secret, code string, now time.Time, used int64) (int64, error) {
	code = strings.ReplaceAll(code, " ", "")
	found := int64(0)
	for _, n := range []int64{-1, 0, 1} {
		at := now.Unix()/step + n
		want, err := totp.GenerateCodeCustom(secret, time.Unix(at*step, 0), totp.ValidateOpts{Period: step, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return 0, host.Errorf(host.Internal, "the secret of one-time codes can't be used; reset it: provost admin reset-totp")
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && at > used {
			found = at
		}
	}
	return found, nil
}

// newRecovery makes codes of 80 random bits, with what is stored of them.
func newRecovery() (codes, digests []string) {
	for range recoveryCodes {
		b := make([]byte, 10)
		_, _ = rand.Read(b) // it never fails
		text := strings.ToLower(base32.StdEncoding.EncodeToString(b))
		codes = append(codes, text[:4]+"-"+text[4:8]+"-"+text[8:12]+"-"+text[12:])
		digests = append(digests, digest(text))
	}
	return codes, digests
}

// withoutRecovery is what is left of codes once one is used; false where it is
// none of them.
func withoutRecovery(digests []string, code string) ([]string, bool) {
	d := digest(strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(code)))
	i := slices.Index(digests, d)
	if i < 0 {
		return digests, false
	}
	return slices.Delete(slices.Clone(digests), i, i+1), true
}
