"""Policies that draw images by denoising."""
