"""HL7 version 2: framing, decoding, acknowledgement."""
