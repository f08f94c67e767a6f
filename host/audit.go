package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// AuditAction says what was done, as noun.verb.
type AuditAction string

// What is audited. Whoever does something else adds its word here.
const (
	AuditDaemonStart         AuditAction = "daemon.start"
	AuditDaemonStop          AuditAction = "daemon.stop"
	AuditConfigReload        AuditAction = "config.reload"
	AuditAppApply            AuditAction = "app.apply"
	AuditAppDelete           AuditAction = "app.delete"
	AuditCredentialApply     AuditAction = "credential.apply"
	AuditCredentialDelete    AuditAction = "credential.delete"
	AuditCredentialRotate    AuditAction = "credential.rotate"
	AuditCredentialReseal    AuditAction = "credential.reseal"
	AuditCredentialAuthorize AuditAction = "credential.authorize"
	AuditCredentialRevoke    AuditAction = "credential.revoke"
	AuditCredentialForget    AuditAction = "credential.forget"
	AuditPluginApply         AuditAction = "plugin.apply"
	AuditPluginDelete        AuditAction = "plugin.delete"
	AuditPluginUpload        AuditAction = "plugin.upload"
	AuditPluginGrant         AuditAction = "plugin.grant"
	AuditPluginReach         AuditAction = "plugin.reach"
	AuditPluginSwap          AuditAction = "plugin.swap"
	AuditPluginRollback      AuditAction = "plugin.rollback"
	AuditPluginQuarantine    AuditAction = "plugin.quarantine"
	AuditPluginRelease       AuditAction = "plugin.release"
	AuditRequestCreate       AuditAction = "request.create"
	AuditRequestApprove      AuditAction = "request.approve"
	AuditRequestDeny         AuditAction = "request.deny"
	AuditRequestDelegate     AuditAction = "request.delegate"
	AuditRequestRetry        AuditAction = "request.retry"
	AuditRequestCancel       AuditAction = "request.cancel"
	AuditRequestComplete     AuditAction = "request.complete"
	AuditReconcileStart      AuditAction = "reconcile.start"
	AuditReconcileCommit     AuditAction = "reconcile.commit"
	AuditReconcileDecide     AuditAction = "reconcile.decide"
	AuditReconcileImport     AuditAction = "reconcile.import"
	AuditReconcilePause      AuditAction = "reconcile.pause"
	AuditReconcileResume     AuditAction = "reconcile.resume"
	AuditThresholdAllow      AuditAction = "threshold.allow"
	AuditThresholdReject     AuditAction = "threshold.reject"
	AuditPlanStart           AuditAction = "plan.start"
	AuditAccountLink         AuditAction = "account.link"
	AuditAccountUnlink       AuditAction = "account.unlink"
	AuditAccountIgnore       AuditAction = "account.ignore"
	AuditAccountUndo         AuditAction = "account.undo"
	AuditUserPut             AuditAction = "user.put"
	AuditUserDelete          AuditAction = "user.delete"
	AuditUserAssign          AuditAction = "user.assign"
	AuditUserUnassign        AuditAction = "user.unassign"
	AuditUserImport          AuditAction = "user.import"
	AuditUserErase           AuditAction = "user.erase"
	AuditDatabaseBackup      AuditAction = "database.backup"
	AuditDatabaseRestore     AuditAction = "database.restore"
	AuditRetentionRun        AuditAction = "retention.run"
	AuditPrune               AuditAction = "audit.prune"

	AuditSessionBegin          AuditAction = "session.begin"
	AuditSessionEnd            AuditAction = "session.end"
	AuditTokenCreate           AuditAction = "token.create"
	AuditTokenRevoke           AuditAction = "token.revoke"
	AuditRoleAssign            AuditAction = "role.assign"
	AuditRoleUnassign          AuditAction = "role.unassign"
	AuditAdministratorCreate   AuditAction = "administrator.create"
	AuditAdministratorDelete   AuditAction = "administrator.delete"
	AuditAdministratorPassword AuditAction = "administrator.password"
	AuditAdministratorTOTP     AuditAction = "administrator.totp"
)

// AuditOutcome says whether it was done.
type AuditOutcome string

// Refused: it was tried, and not allowed or not valid. Failed: it was allowed,
// and did not work.
const (
	AuditDone    AuditOutcome = "done"
	AuditRefused AuditOutcome = "refused"
	AuditFailed  AuditOutcome = "failed"
)

// AuditOutcomes are all of them.
var AuditOutcomes = []AuditOutcome{AuditDone, AuditRefused, AuditFailed}

// AuditObject is what something was done to. People are named by their ids, so
// that erasing one does not touch the trail.
type AuditObject struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// AuditEntry says who changed what, or tried to. It holds no secret, and of
// people their ids only.
type AuditEntry struct {
	// Number counts from 1, without gaps.
	Number int64     `json:"number"`
	Time   time.Time `json:"time"`
	// Actor is a user's id, an [Administrator], an [Outsider], or [Ourselves].
	Actor     string       `json:"actor"`
	Action    AuditAction  `json:"action"`
	Object    AuditObject  `json:"object"`
	Outcome   AuditOutcome `json:"outcome"`
	Error     Code         `json:"error,omitempty"`
	RequestId string       `json:"requestId,omitempty"`
	// Call is the call of the API that it came by (see [CallOf]).
	Call string `json:"call,omitempty"`
	// Details are JSON: digests before and after, counts, keys.
	Details json.RawMessage `json:"details,omitempty"`
	// PreviousHash is the Hash of the entry before; empty in the first.
	PreviousHash string `json:"previousHash"`
	// Hash is the SHA-256, in hex, of the entry as JSON without it. It stands last,
	// so that it can be cut off an exported line.
	Hash string `json:"hash,omitempty"`
}

const (
	longestAuditName    = 512
	longestAuditDetails = 64 << 10
)

// AuditLink is a place in the chain of entries: behind the entry of that number
// and hash. The zero value is the beginning.
type AuditLink struct {
	Number int64  `json:"number"`
	Hash   string `json:"hash"`
}

// String is the link as a person keeps it: 42:9f2c….
func (l AuditLink) String() string { return strconv.FormatInt(l.Number, 10) + ":" + l.Hash }

var auditLink = regexp.MustCompile(`^(?:([0-9]{1,18}):)?([0-9a-f]{64})$`)

// ParseAuditLink reads NUMBER:HASH, or HASH alone, which leaves Number 0.
func ParseAuditLink(text string) (l AuditLink, err error) {
	m := auditLink.FindStringSubmatch(strings.ToLower(strings.TrimSpace(text)))
	if m == nil {
		return l, Errorf(InvalidInput, "%.100q is no place in the audit trail: it is NUMBER:HASH or HASH, 64 digits of hex, as audit verify prints it", text)
	}
	if m[1] != "" {
		l.Number, _ = strconv.ParseInt(m[1], 10, 64) // 18 digits fit
	}
	l.Hash = m[2]
	return l, nil
}

// Append makes e the entry behind l: it fills Number, PreviousHash and Hash, and
// cleans what others wrote. The text is what the hash is of, to be kept as it
// is. It fails where Details are no JSON.
func (l AuditLink) Append(e *AuditEntry) (text []byte, err error) {
	e.Number, e.PreviousHash, e.Hash = l.Number+1, l.Hash, ""
	e.Time = e.Time.UTC().Truncate(time.Microsecond) // as much as the databases keep
	for _, s := range []*string{&e.Actor, &e.Object.Kind, &e.Object.Name, &e.RequestId} {
		*s = auditText(*s)
	}
	if e.Details, err = auditDetails(e.Details); err != nil {
		return nil, err
	}
	if text, err = json.Marshal(e); err != nil {
		return nil, fmt.Errorf("audit %s: %w", e.Action, err)
	}
	sum := sha256.Sum256(text)
	e.Hash = hex.EncodeToString(sum[:])
	return text, nil
}

// auditText makes a text one line that both databases take.
func auditText(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) <= longestAuditName {
		return s
	}
	return strings.ToValidUTF8(s[:longestAuditName], "")
}

// auditDetails are details in their one form. Of what is too long only the
// digest stays.
func auditDetails(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, fmt.Errorf("details of an audit entry: %w", err)
	}
	if b.Len() > longestAuditDetails {
		sum := sha256.Sum256(b.Bytes())
		return json.Marshal(map[string]any{"tooLong": b.Len(), "sha256": hex.EncodeToString(sum[:])})
	}
	return b.Bytes(), nil
}

// Follow checks that the entry of this text and hash is the one behind l, and
// returns it with its own place. The error names the first entry that is not as
// it was written.
func (l AuditLink) Follow(text []byte, hash string) (e AuditEntry, at AuditLink, err error) {
	sum := sha256.Sum256(text)
	switch err := json.Unmarshal(text, &e); {
	case hex.EncodeToString(sum[:]) != hash:
		return e, l, auditBroken(l.Number+1, "its content was changed: it has the hash %x, and %.64s was stored", sum, hash)
	case err != nil:
		return e, l, auditBroken(l.Number+1, "it can't be read: %v", err)
	case e.Number > l.Number+1:
		return e, l, auditBroken(l.Number+1, "it is missing: entry %d comes next", e.Number)
	case e.Number != l.Number+1:
		return e, l, auditBroken(l.Number+1, "entry %d stands in its place", e.Number)
	case e.PreviousHash != l.Hash && l.Number == 0:
		return e, l, auditBroken(e.Number, "it is the first, but was written behind an entry of the hash %.64s", e.PreviousHash)
	case e.PreviousHash != l.Hash:
		return e, l, auditBroken(l.Number, "it was replaced: entry %d was written behind one of the hash %.64s, and this one has %s", e.Number, e.PreviousHash, l.Hash)
	}
	e.Hash = hash
	return e, AuditLink{e.Number, hash}, nil
}

// AuditBreak says where the chain of entries is broken first.
type AuditBreak struct {
	Number int64
	Why    string
}

func (b *AuditBreak) Error() string { return fmt.Sprintf("entry %d: %s", b.Number, b.Why) }

func auditBroken(number int64, format string, args ...any) error {
	return &AuditBreak{number, fmt.Sprintf(format, args...)}
}

// AuditLine is an entry as it is exported: its text with the hash at the end.
func AuditLine(text []byte, hash string) []byte {
	line := make([]byte, 0, len(text)+len(hash)+12)
	line = append(line, bytes.TrimSuffix(text, []byte("}"))...)
	return append(append(append(line, `,"hash":"`...), hash...), `"}`...)
}

var auditLineEnd = regexp.MustCompile(`,"hash":"([0-9a-f]{64})"}$`)

// ParseAuditLine takes an exported line apart, into what [AuditLink.Follow]
// checks.
func ParseAuditLine(line []byte) (text []byte, hash string, err error) {
	m := auditLineEnd.FindSubmatchIndex(line)
	if m == nil {
		return nil, "", Errorf(InvalidInput, "no line of an exported audit trail: it must end with its hash")
	}
	return append(bytes.Clone(line[:m[0]]), '}'), string(line[m[2]:m[3]]), nil
}

// AuditVerification is what came of checking the trail.
type AuditVerification struct {
	// Entries were checked, behind Anchor: what was pruned ends there. Head is the
	// last that was found as it was written.
	Entries int64     `json:"entries"`
	Anchor  AuditLink `json:"anchor"`
	Head    AuditLink `json:"head"`
	// Broken is the number of the first entry that is not as it was written, 0
	// where all are; Problem says how.
	Broken  int64  `json:"broken,omitempty"`
	Problem string `json:"problem,omitempty"`
}
