package registry

import "fmt"

const highestBlock = 999_999_999_999

// Anchor is the root that an organisation computed over the registry's state as of a block. Where the roots of enough
// organisations agree, a certificate that proves itself against that root needs no trust in any one of them.
type Anchor struct {
	BlockNumber int64  `json:"block_number"`
	MSPID       string `json:"msp_id"`
	Root        string `json:"root"`
	PostedAt    string `json:"posted_at"`
	TxID        string `json:"tx_id"`
}

type anchorArguments struct {
	BlockNumber int64  `json:"block_number"`
	Root        string `json:"root"`
}

type blockArguments struct {
	BlockNumber int64 `json:"block_number"`
}

// anchorBlock is the block's part of the key, in fixed width so that keys stand in block order.
func anchorBlock(number int64) (string, error) {
	if number < 0 || number > highestBlock {
		return "", invalid("block_number", "BLOCK_NUMBER", "A block number lies between 0 and %d.", highestBlock)
	}
	return fmt.Sprintf("%012d", number), nil
}

func postAnchor(c *call, asked anchorArguments) (*Anchor, error) {
	block, err := anchorBlock(asked.BlockNumber)
	if err := first(err, checkHash("root", asked.Root)); err != nil {
		return nil, err
	}
	exists, err := c.get(&Anchor{}, anchorKey, block, c.mspID)
	if err != nil {
		return nil, err
	}
	if exists {
		return nil, duplicate("ANCHOR_EXISTS", "Your organisation has posted its root for this block.")
	}
	anchor := &Anchor{BlockNumber: asked.BlockNumber, MSPID: c.mspID, Root: asked.Root, PostedAt: c.at, TxID: c.txID}
	c.changed(Change{Change: "anchor.posted", Anchor: anchor})
	return anchor, c.put(anchor, anchorKey, block, c.mspID)
}

type anchorList struct {
	Anchors []Anchor `json:"anchors"`
}

func getAnchors(c *call, asked blockArguments) (*anchorList, error) {
	block, err := anchorBlock(asked.BlockNumber)
	if err != nil {
		return nil, err
	}
	anchors, err := scan[Anchor](c, anchorKey, block)
	return &anchorList{anchors}, err
}
