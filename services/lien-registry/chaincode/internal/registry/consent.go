package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
)

// Operations that can need consent.
const (
	transferOperation    = "TRANSFER_TITLE"
	assignOperation      = "ASSIGN"
	subordinateOperation = "SUBORDINATE"
)

// States of a consent; MISSING and EXPIRED are only ever answered, not stored.
const (
	given     = "GIVEN"
	withdrawn = "WITHDRAWN"
	used      = "USED"
)

// Consent is what an organisation agreed to: one proposed change, named by its hash, once.
type Consent struct {
	VIN          string `json:"vin"`
	Operation    string `json:"operation"`
	ProposalHash string `json:"proposal_hash"`
	MSPID        string `json:"msp_id"`
	State        string `json:"state"`
	GivenAt      string `json:"given_at"`
	ExpiresAt    string `json:"expires_at"`
	TxID         string `json:"tx_id"`
	EndedAt      string `json:"ended_at"`
	EndedTxID    string `json:"ended_tx_id"`
}

// Proposal is a proposed change. It names the versions of what it changes: a consent to it is void once these have changed,
// so nobody is held to a consent for a larger amount, or for another holder, than they saw.
type Proposal struct {
	Operation                     string `json:"operation"`
	VIN                           string `json:"vin"`
	RegistrationNumber            string `json:"registration_number"`
	RegistrationVersion           int    `json:"registration_version"`
	SeniorRegistrationNumber      string `json:"senior_registration_number"`
	SeniorRegistrationVersion     int    `json:"senior_registration_version"`
	ClaimID                       string `json:"claim_id"`
	AssigneeMSPID                 string `json:"assignee_msp_id"`
	TitleVersion                  int    `json:"title_version"`
	HolderMSPID                   string `json:"holder_msp_id"`
	HolderHash                    string `json:"holder_hash"`
	RegistrationCertificateNumber string `json:"registration_certificate_number"`
}

// hash is the SHA-256 of the proposal's JSON with its fields in the order above and no spaces.
func (p Proposal) hash() (string, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return "", ledgerFailed("write a proposal")
	}
	digest := sha256.Sum256(text)
	return hex.EncodeToString(digest[:]), nil
}

// agreement is a proposal and the organisations without whose consent it may not be done.
type agreement struct {
	proposal Proposal
	needed   []string
}

func agree(proposal Proposal, mspIDs ...string) agreement {
	slices.Sort(mspIDs)
	return agreement{proposal, slices.Compact(mspIDs)}
}

// use marks the needed consents as used, or refuses naming those that miss it.
func (c *call) use(agreed agreement) error {
	hash, err := agreed.proposal.hash()
	if err != nil {
		return err
	}
	missing := []string{}
	for _, mspID := range agreed.needed {
		consent := &Consent{}
		if _, err := c.get(consent, consentKey, agreed.proposal.VIN, hash, mspID); err != nil {
			return err
		}
		if consent.standing(c.at) != given {
			missing = append(missing, mspID)
			continue
		}
		if err := c.endConsent(consent, used, "consent.used"); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return precondition("CONSENT_MISSING", "Those whom the change concerns have not all consented.",
			"proposal_hash", hash, "missing_msp_ids", strings.Join(missing, ","))
	}
	return nil
}

func (c *call) endConsent(consent *Consent, state, change string) error {
	consent.State, consent.EndedAt, consent.EndedTxID = state, c.at, c.txID
	return c.putConsent(consent, change)
}

func (c *call) putConsent(consent *Consent, change string) error {
	c.changed(Change{Change: change, VIN: consent.VIN, Consent: consent})
	return c.put(consent, consentKey, consent.VIN, consent.ProposalHash, consent.MSPID)
}

func (c *Consent) standing(at string) string {
	switch {
	case c.State == "":
		return "MISSING"
	case c.State == given && c.ExpiresAt != "" && c.ExpiresAt <= at:
		return "EXPIRED"
	}
	return c.State
}

type consentArguments struct {
	VIN          string `json:"vin"`
	Operation    string `json:"operation"`
	ProposalHash string `json:"proposal_hash"`
	ExpiresAt    string `json:"expires_at"`
}

func giveConsent(c *call, asked consentArguments) (*Consent, error) {
	err := first(
		checkVIN(asked.VIN),
		oneOf("operation", asked.Operation, transferOperation, assignOperation, subordinateOperation),
		checkHash("proposal_hash", asked.ProposalHash),
	)
	if err != nil {
		return nil, err
	}
	expiresAt := ""
	if asked.ExpiresAt != "" {
		if expiresAt, err = parseLater("expires_at", asked.ExpiresAt, c.at, "EXPIRES_AT_PAST"); err != nil {
			return nil, err
		}
	}
	consent := &Consent{}
	if _, err := c.get(consent, consentKey, asked.VIN, asked.ProposalHash, c.mspID); err != nil {
		return nil, err
	}
	switch consent.standing(c.at) {
	case given:
		return nil, duplicate("CONSENT_GIVEN", "The consent is given already.")
	case used:
		return nil, duplicate("CONSENT_USED", "The consent was used: it counts once.")
	}
	consent = &Consent{
		VIN: asked.VIN, Operation: asked.Operation, ProposalHash: asked.ProposalHash, MSPID: c.mspID,
		State: given, GivenAt: c.at, ExpiresAt: expiresAt, TxID: c.txID,
	}
	return consent, c.putConsent(consent, "consent.given")
}

type withdrawArguments struct {
	VIN          string `json:"vin"`
	ProposalHash string `json:"proposal_hash"`
}

func withdrawConsent(c *call, asked withdrawArguments) (*Consent, error) {
	if err := first(checkVIN(asked.VIN), checkHash("proposal_hash", asked.ProposalHash)); err != nil {
		return nil, err
	}
	consent := &Consent{}
	exists, err := c.get(consent, consentKey, asked.VIN, asked.ProposalHash, c.mspID)
	if err != nil {
		return nil, err
	}
	if !exists {
		return nil, notFound("CONSENT_UNKNOWN", "Your organisation has given no such consent.")
	}
	if consent.State != given {
		return nil, precondition("CONSENT_NOT_GIVEN", "The consent was withdrawn or used.")
	}
	return consent, c.endConsent(consent, withdrawn, "consent.withdrawn")
}

// ConsentStanding tells how one needed consent stands.
type ConsentStanding struct {
	MSPID string `json:"msp_id"`
	State string `json:"state"`
}

// ProposalAnswer is a proposal with whose consent it needs.
type ProposalAnswer struct {
	Proposal     Proposal          `json:"proposal"`
	ProposalHash string            `json:"proposal_hash"`
	Consents     []ConsentStanding `json:"consents"`
}

type proposalArguments struct {
	Operation                     string `json:"operation"`
	VIN                           string `json:"vin"`
	RegistrationNumber            string `json:"registration_number"`
	SeniorRegistrationNumber      string `json:"senior_registration_number"`
	ClaimID                       string `json:"claim_id"`
	AssigneeMSPID                 string `json:"assignee_msp_id"`
	HolderMSPID                   string `json:"holder_msp_id"`
	HolderHash                    string `json:"holder_hash"`
	RegistrationCertificateNumber string `json:"registration_certificate_number"`
}

// getProposal plans a change the way the write does and tells what stands in its way.
func getProposal(c *call, asked proposalArguments) (*ProposalAnswer, error) {
	agreed, err := c.plan(asked)
	if err != nil {
		return nil, err
	}
	hash, err := agreed.proposal.hash()
	if err != nil {
		return nil, err
	}
	answer := &ProposalAnswer{Proposal: agreed.proposal, ProposalHash: hash, Consents: []ConsentStanding{}}
	for _, mspID := range agreed.needed {
		consent := &Consent{}
		if _, err := c.get(consent, consentKey, agreed.proposal.VIN, hash, mspID); err != nil {
			return nil, err
		}
		answer.Consents = append(answer.Consents, ConsentStanding{mspID, consent.standing(c.at)})
	}
	return answer, nil
}

func (c *call) plan(asked proposalArguments) (agreement, error) {
	switch asked.Operation {
	case transferOperation:
		_, agreed, err := c.planTransfer(titleArguments{
			VIN: asked.VIN, HolderHash: asked.HolderHash, HolderMSPID: asked.HolderMSPID,
			RegistrationCertificateNumber: asked.RegistrationCertificateNumber,
		})
		return agreed, err
	case assignOperation:
		lien, err := c.lien("registration_number", asked.RegistrationNumber)
		if err != nil {
			return agreement{}, err
		}
		return c.planAssignment(lien, assignArguments{asked.RegistrationNumber, asked.ClaimID, asked.AssigneeMSPID})
	case subordinateOperation:
		lien, err := c.lien("registration_number", asked.RegistrationNumber)
		if err != nil {
			return agreement{}, err
		}
		return c.planSubordination(lien, subordinateArguments{asked.RegistrationNumber, asked.SeniorRegistrationNumber})
	}
	return agreement{}, oneOf("operation", asked.Operation, transferOperation, assignOperation, subordinateOperation)
}
