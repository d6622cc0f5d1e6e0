package lab

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Offsets in a frame.
const (
	etherType   = 12
	etherLength = 14
	arpRequest  = etherLength + 6
	arpSender   = etherLength + 8
	arpTarget   = etherLength + 18
	arpLength   = etherLength + 28
	ipProtocol  = etherLength + 9
	ipSource    = etherLength + 12
	ipTarget    = etherLength + 16
	ipLength    = 20
	icmpEcho    = 8
)

var gatewayIP = netip.MustParseAddr(gatewayAddress).AsSlice()

// answerOf is the gateway's answer to a frame: to a question for its hardware
// address, and to a ping. There is none to anything else.
func answerOf(frame []byte) []byte {
	if len(frame) < etherLength {
		return nil
	}
	switch binary.BigEndian.Uint16(frame[etherType:]) {
	case 0x0806:
		return answerARP(frame)
	case 0x0800:
		return answerPing(frame)
	}
	return nil
}

func answerARP(frame []byte) []byte {
	if len(frame) < arpLength || frame[arpRequest+1] != 1 || !slices.Equal(frame[arpTarget+6:arpTarget+10], gatewayIP) {
		return nil
	}
	answer := turned(frame)
	answer[arpRequest+1] = 2
	copy(answer[arpTarget:], frame[arpSender:arpSender+10])
	copy(answer[arpSender:], macOf(gateway))
	copy(answer[arpSender+6:], gatewayIP)
	return answer
}

func answerPing(frame []byte) []byte {
	if len(frame) < etherLength+ipLength+8 || !slices.Equal(frame[ipTarget:ipTarget+4], gatewayIP) || frame[ipProtocol] != 1 {
		return nil
	}
	icmp := etherLength + int(frame[etherLength]&15)*4
	if len(frame) < icmp+8 || frame[icmp] != icmpEcho {
		return nil
	}
	answer := turned(frame)
	copy(answer[ipSource:], frame[ipTarget:ipTarget+4]) // the sum stays the same
	copy(answer[ipTarget:], frame[ipSource:ipSource+4])
	answer[icmp] = 0
	sum := uint32(binary.BigEndian.Uint16(frame[icmp+2:])) + icmpEcho<<8
	binary.BigEndian.PutUint16(answer[icmp+2:], uint16(sum)+uint16(sum>>16))
	return answer
}

// turned is a copy of a frame that goes back from the gateway.
func turned(frame []byte) []byte {
	answer := slices.Clone(frame)
	copy(answer, frame[6:12])
	copy(answer[6:], macOf(gateway))
	return answer
}
